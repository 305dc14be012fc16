import type { Session } from "@/api/session";
import { Figure } from "@/components/ui/card";
import { bytes, count } from "@/lib/format";

/** The account's figures. */
export function OverviewView({ session }: { session: Session }) {
  const { plan, balance } = session;
  return (
    <div className="grid gap-4 sm:grid-cols-2 lg:grid-cols-3">
      <Figure label="Balance" value={bytes(balance.balanceBytes)} note={`${bytes(balance.usedBytes)} used in all`} />
      <Figure label="Plan" value={plan?.name ?? "None"} note={plan?.description} />
      <Figure label="Connections at once" value={plan ? count(plan.maxConcurrentConnections) : "0"} />
    </div>
  );
}
