import { useSession } from "@/api/session";
import { Page } from "@/components/page";
import { OverviewView } from "./overview-view";

/** What the account has and how it stands. */
export function OverviewPage() {
  const session = useSession();
  return (
    <Page title="Dashboard" description={`Welcome, ${session.user.firstName}.`}>
      <OverviewView session={session} />
    </Page>
  );
}
