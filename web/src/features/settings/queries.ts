import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { answer, api } from "@/api/client";
import type { components } from "@/api/schema";
import { sessionQuery } from "@/api/session";

type Schemas = components["schemas"];
export type Security = Schemas["SecurityAnswer"];
export type Login = Schemas["LoginInfo"];
export type Notifications = Schemas["NotificationsAnswer"];
export type SetUp = Schemas["SetUpAnswer"];

export const securityQuery = queryOptions({
  queryKey: ["security"],
  queryFn: ({ signal }) => answer(api.GET("/api/auth/security", { signal })),
});

export const loginsQuery = queryOptions({
  queryKey: ["logins"],
  queryFn: ({ signal }) => answer(api.GET("/api/auth/sessions", { signal })),
});

export const notificationsQuery = queryOptions({
  queryKey: ["notifications"],
  queryFn: ({ signal }) => answer(api.GET("/api/auth/notifications", { signal })),
});

export function useChangeProfile() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["ProfileBody"]) => answer(api.PATCH("/api/auth/profile", { body })),
    // Days and times of every page are those of the account's time zone.
    onSuccess: () => queries.invalidateQueries(),
  });
}

/** Ends every login of the account; this browser goes on with a fresh one. */
export function useChangePassword() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["PasswordBody"]) => answer(api.PUT("/api/auth/password", { body })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
      await queries.invalidateQueries({ queryKey: loginsQuery.queryKey });
    },
  });
}

export function useSetUpTwoFactor() {
  return useMutation({
    mutationFn: (password: string) => answer(api.POST("/api/auth/two-factor/setup", { body: { password } })),
    gcTime: 0,
  });
}

export function useConfirmTwoFactor() {
  return useSecurityMutation((code: string) => answer(api.POST("/api/auth/two-factor/confirm", { body: { code } })));
}

export function useEndTwoFactor() {
  return useSecurityMutation((body: Schemas["ProofBody"]) => answer(api.POST("/api/auth/two-factor/disable", { body })));
}

export function useNewRecoveryCodes() {
  return useSecurityMutation((body: Schemas["ProofBody"]) =>
    answer(api.POST("/api/auth/two-factor/recovery-codes", { body })),
  );
}

export function useChangeSecurity() {
  return useSecurityMutation((body: Schemas["SecurityBody"]) => answer(api.PATCH("/api/auth/security", { body })));
}

export function useEndLogin() {
  return useSecurityMutation((login: Login) =>
    answer(api.DELETE("/api/auth/sessions/{sessionId}", { params: { path: { sessionId: login.id } } })),
  );
}

export function useEndOtherLogins() {
  return useSecurityMutation(() => answer(api.DELETE("/api/auth/sessions")));
}

export function useChangeNotifications() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["NotificationsBody"]) => answer(api.PUT("/api/auth/notifications", { body })),
    onSuccess: (preferences) => queries.setQueryData(notificationsQuery.queryKey, preferences),
  });
}

export function useDeleteAccount() {
  return useMutation({
    mutationFn: (body: Schemas["FarewellBody"]) => answer(api.DELETE("/api/auth/account", { body })),
  });
}

/** A change after which the account's safety and logins are read anew. Its answer, which may have recovery codes, is not kept. */
function useSecurityMutation<Asked, Answer>(mutationFn: (asked: Asked) => Promise<Answer>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn,
    gcTime: 0,
    onSettled: async () => {
      await queries.invalidateQueries({ queryKey: securityQuery.queryKey });
      await queries.invalidateQueries({ queryKey: loginsQuery.queryKey });
    },
  });
}
