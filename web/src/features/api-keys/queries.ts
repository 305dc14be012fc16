import { useMutation, useQueryClient } from "@tanstack/react-query";

import { answer, api } from "@/api/client";
import { ApiError } from "@/api/problem";
import { keysQuery } from "@/api/queries";
import type { components } from "@/api/schema";
import type { KeyInfo, Wanted } from "./key-form";

/** Makes a key; its secret is in this answer and nowhere else. */
export function useCreateKey() {
  return useKeyMutation((wanted: Wanted) => answer(api.POST("/api/proxy/keys", { body: wanted })));
}

/** Changes everything that the form of a key shows. */
export function useChangeKey() {
  return useKeyMutation(async ({ key, wanted }: { key: KeyInfo; wanted: Wanted }) => {
    const { name, limits, expiresAt, ipLogin, ipWhitelist = [] } = wanted;
    const change = () => changeKey(key, { name, limits, expiresAt, ipLogin });
    if (ipWhitelist.join() === key.ipWhitelist.join()) return change();
    // A login by address needs its list at any time: the list comes first where it begins, and goes last where it ends.
    if (!ipLogin) await change();
    const listed = await setWhitelist(key, ipWhitelist);
    return ipLogin ? change() : listed;
  });
}

export function useSwitchKey() {
  return useKeyMutation((key: KeyInfo) => changeKey(key, { isActive: !key.isActive }));
}

export function useDeleteKey() {
  return useKeyMutation((key: KeyInfo) =>
    answer(api.DELETE("/api/proxy/keys/{keyId}", { params: { path: { keyId: key.id } } })),
  );
}

type Change = components["schemas"]["ChangeKeyBody"];

function changeKey(key: KeyInfo, body: Change) {
  return answer(api.PATCH("/api/proxy/keys/{keyId}", { params: { path: { keyId: key.id } }, body }));
}

/** The list has another name here than where a key is made: its error comes under the name that the form knows. */
async function setWhitelist(key: KeyInfo, ips: string[]) {
  try {
    return await answer(
      api.PUT("/api/proxy/keys/{keyId}/whitelist", { params: { path: { keyId: key.id } }, body: { ips } }),
    );
  } catch (error) {
    const message = error instanceof ApiError ? error.fields["ips"] : undefined;
    if (!(error instanceof ApiError) || message === undefined) throw error;
    throw new ApiError(error.status, error.code, error.title, error.detail, { ipWhitelist: message });
  }
}

/** A change after which the list is read anew, also when only a part of it was made. Its answer, which may have a secret, is not kept. */
function useKeyMutation<Asked, Answer>(mutationFn: (asked: Asked) => Promise<Answer>) {
  const queries = useQueryClient();
  return useMutation({ mutationFn, gcTime: 0, onSettled: () => queries.invalidateQueries({ queryKey: keysQuery.queryKey }) });
}
