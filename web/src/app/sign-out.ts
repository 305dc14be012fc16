import { useMutation } from "@tanstack/react-query";

import { answer, api } from "@/api/client";
import { paths } from "@/lib/paths";

/** Ends this login at the server, then leaves by a full load: nothing of the account stays in memory. */
export function useSignOut() {
  return useMutation({
    mutationFn: () => answer(api.POST("/api/auth/logout")),
    onSuccess: () => globalThis.location.assign(paths.login),
  });
}
