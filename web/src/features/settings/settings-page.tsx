import { useQuery } from "@tanstack/react-query";

import { useSession } from "@/api/session";
import { LoadedCards } from "@/components/loaded";
import { Page } from "@/components/page";
import { paths } from "@/lib/paths";
import { Leaving } from "./leaving";
import { Logins } from "./logins";
import { NotificationsForm } from "./notifications-form";
import { PasswordForm } from "./password-form";
import { ProfileForm } from "./profile-form";
import {
  loginsQuery,
  notificationsQuery,
  securityQuery,
  useChangeNotifications,
  useChangePassword,
  useChangeProfile,
  useChangeSecurity,
  useConfirmTwoFactor,
  useDeleteAccount,
  useEndLogin,
  useEndOtherLogins,
  useEndTwoFactor,
  useNewRecoveryCodes,
  useSetUpTwoFactor,
} from "./queries";
import { SignInForm } from "./sign-in-form";
import { TwoFactor } from "./two-factor";

export function SettingsPage() {
  const { user } = useSession();
  const changeProfile = useChangeProfile();
  const changePassword = useChangePassword();
  const changeSecurity = useChangeSecurity();
  const changeNotifications = useChangeNotifications();
  const endLogin = useEndLogin();
  const endOthers = useEndOtherLogins();
  const deleteAccount = useDeleteAccount();
  const twoFactor = {
    setUp: useSetUpTwoFactor().mutateAsync,
    confirm: useConfirmTwoFactor().mutateAsync,
    end: useEndTwoFactor().mutateAsync,
    newCodes: useNewRecoveryCodes().mutateAsync,
  };
  const security = useQuery(securityQuery);
  const notifications = useQuery(notificationsQuery);
  const logins = useQuery(loginsQuery);
  return (
    <Page title="Settings" description="Your profile, how you sign in, and what we tell you.">
      <ProfileForm user={user} save={changeProfile.mutateAsync} />
      <div className="grid items-start gap-6 xl:grid-cols-2">
        <PasswordForm email={user.email} save={changePassword.mutateAsync} />
        <div className="space-y-6">
          <LoadedCards title="Signing in" of={security} lines={5}>
            {(settings) => (
              <>
                <TwoFactor security={settings} calls={twoFactor} />
                <SignInForm security={settings} save={changeSecurity.mutateAsync} />
              </>
            )}
          </LoadedCards>
        </div>
      </div>
      <Logins
        logins={logins}
        timeZone={user.timeZone}
        ending={endLogin.isPending ? endLogin.variables : undefined}
        isEndingOthers={endOthers.isPending}
        error={endLogin.error ?? endOthers.error}
        onEnd={endLogin.mutate}
        onEndOthers={endOthers.mutate}
      />
      <LoadedCards title="Notifications" of={notifications} lines={6}>
        {(preferences) => <NotificationsForm preferences={preferences} save={changeNotifications.mutateAsync} />}
      </LoadedCards>
      <Leaving
        email={user.email}
        hasTwoFactor={security.data?.twoFactorEnabled ?? false}
        leave={deleteAccount.mutateAsync}
        // By a full load: nothing of the account stays in memory.
        onGone={() => globalThis.location.assign(paths.login)}
      />
    </Page>
  );
}
