import { KeyRound, Plus } from "lucide-react";

import type { components } from "@/api/schema";
import { CallError } from "@/components/call-error";
import { type Asked, Loaded } from "@/components/loaded";
import { Page } from "@/components/page";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { EmptyState } from "@/components/ui/empty-state";
import { type Column, Table } from "@/components/ui/table";
import { bytes, date, dateTime } from "@/lib/format";
import { type KeyInfo, describeLimits } from "./key-form";

export type KeyList = components["schemas"]["KeyList"];

interface Props {
  keys: Asked<KeyList>;
  timeZone: string;
  /** In ms: a key that ends before is over. */
  now: number;
  /** The key that is being switched. */
  switching: KeyInfo | undefined;
  /** Why switching a key failed. */
  error: Error | null;
  onCreate: () => void;
  onEdit: (key: KeyInfo) => void;
  onSwitch: (key: KeyInfo) => void;
  onDelete: (key: KeyInfo) => void;
}

/** The account's keys with what they may do. */
export function ApiKeysView({ keys, error, onCreate, ...rest }: Props) {
  const why = whyNoMore(keys.data);
  const create = (
    <Button onClick={onCreate} disabled={why !== undefined} title={why}>
      <Plus aria-hidden className="size-4" />
      Create API key
    </Button>
  );
  return (
    <Page title="API keys" description={why ?? "A key is a password for the proxy. Give each program its own."} action={create}>
      <CallError error={error} />
      <Card isFlush={keys.data !== undefined}>
        <Loaded of={keys} lines={5}>
          {(list) =>
            list.keys.length === 0 ? (
              <EmptyState icon={KeyRound} title="No keys yet" action={create}>
                The proxy asks for a key with each connection. Make one to send your first request.
              </EmptyState>
            ) : (
              <Table label="API keys" columns={columns(rest)} rows={list.keys} keyOf={(key) => key.id} />
            )
          }
        </Loaded>
      </Card>
    </Page>
  );
}

/** Why no further key can be made; none: one can. */
function whyNoMore(list: KeyList | undefined): string | undefined {
  if (!list || list.keys.length < list.maxKeys) return undefined;
  return `You have all ${list.maxKeys} keys that an account may have. Delete one to make another.`;
}

type Rest = Omit<Props, "keys" | "error" | "onCreate">;

function columns({ timeZone, now, switching, onEdit, onSwitch, onDelete }: Rest): Column<KeyInfo>[] {
  return [
    {
      heading: "Name",
      cell: (key) => (
        <div className="min-w-36">
          <p className="font-medium wrap-anywhere">{key.name}</p>
          <p className="font-mono text-xs text-soft">{key.keyPrefix}…</p>
        </div>
      ),
    },
    { heading: "Status", cell: (key) => <KeyStatus of={key} now={now} /> },
    {
      heading: "Limits",
      cell: (key) => <p className="max-w-72 min-w-44 text-soft">{describeLimits(key.limits, bytes).join(" · ") || "Those of the plan"}</p>,
    },
    {
      heading: "Last used",
      cell: (key) => (
        <div className="whitespace-nowrap">
          <p>{key.lastUsedAt ? dateTime(key.lastUsedAt, timeZone) : "Never"}</p>
          <p className="text-xs text-soft">Created {date(key.createdAt, timeZone)}</p>
        </div>
      ),
    },
    {
      heading: "Actions",
      isAction: true,
      cell: (key) => (
        <span className="inline-flex gap-1">
          <Button look="quiet" size="small" aria-label={`Edit ${key.name}`} onClick={() => onEdit(key)}>
            Edit
          </Button>
          <Button
            look="quiet"
            size="small"
            isBusy={switching?.id === key.id}
            aria-label={`${key.isActive ? "Disable" : "Enable"} ${key.name}`}
            onClick={() => onSwitch(key)}
          >
            {key.isActive ? "Disable" : "Enable"}
          </Button>
          <Button look="quiet" size="small" aria-label={`Delete ${key.name}`} onClick={() => onDelete(key)}>
            Delete
          </Button>
        </span>
      ),
    },
  ];
}

function KeyStatus({ of: key, now }: { of: KeyInfo; now: number }) {
  if (key.expiresAt && Date.parse(key.expiresAt) <= now) return <Badge kind="warning">Expired</Badge>;
  return key.isActive ? <Badge kind="good">Active</Badge> : <Badge>Disabled</Badge>;
}
