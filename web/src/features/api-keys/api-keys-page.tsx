import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { endpointQuery, keysQuery } from "@/api/queries";
import { useSession } from "@/api/session";
import { ConfirmDialog } from "@/components/ui/dialog";
import { ApiKeysView } from "./api-keys-view";
import { KeyFormDialog, type NewKey, SecretDialog } from "./key-dialogs";
import type { KeyInfo } from "./key-form";
import { useChangeKey, useCreateKey, useDeleteKey, useSwitchKey } from "./queries";

/** What is open over the list. */
type Open = { what: "create" } | { what: "secret"; created: NewKey } | { what: "edit" | "delete"; key: KeyInfo };

export function ApiKeysPage() {
  const { timeZone } = useSession().user;
  const keys = useQuery(keysQuery);
  const endpoint = useQuery(endpointQuery);
  const [open, setOpen] = useState<Open>();
  // As of when the list came: what ended before is over.
  const now = keys.dataUpdatedAt;
  const create = useCreateKey();
  const change = useChangeKey();
  const toggle = useSwitchKey();
  const remove = useDeleteKey();
  const close = () => {
    setOpen(undefined);
    remove.reset();
    // The secret of a key that was made is not kept longer than it is shown.
    create.reset();
  };
  return (
    <>
      <ApiKeysView
        keys={keys}
        timeZone={timeZone}
        now={now}
        error={toggle.error}
        switching={toggle.isPending ? toggle.variables : undefined}
        onCreate={() => setOpen({ what: "create" })}
        onEdit={(key) => setOpen({ what: "edit", key })}
        onSwitch={toggle.mutate}
        onDelete={(key) => setOpen({ what: "delete", key })}
      />
      {open?.what === "create" && (
        <KeyFormDialog
          timeZone={timeZone}
          send={create.mutateAsync}
          done={(created) => setOpen({ what: "secret", created })}
          onClose={close}
        />
      )}
      {open?.what === "secret" && (
        <SecretDialog created={open.created} connection={endpoint.data?.endpoints[0]?.connectionString} onClose={close} />
      )}
      {open?.what === "edit" && (
        <KeyFormDialog
          of={open.key}
          timeZone={timeZone}
          send={(wanted) => change.mutateAsync({ key: open.key, wanted })}
          done={close}
          onClose={close}
        />
      )}
      {open?.what === "delete" && (
        <ConfirmDialog
          title={`Delete ${open.key.name}?`}
          verb={`Delete ${open.key.name}`}
          isBusy={remove.isPending}
          error={remove.error}
          onConfirm={() => remove.mutate(open.key, { onSuccess: close })}
          onClose={close}
        >
          <p>
            Programs that use <strong className="wrap-anywhere">{open.key.name}</strong> ({open.key.keyPrefix}…) are refused at once. Its usage stays in the
            reports. This can’t be undone.
          </p>
        </ConfirmDialog>
      )}
    </>
  );
}
