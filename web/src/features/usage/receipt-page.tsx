import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";

import { useSession } from "@/api/session";
import { receiptQuery } from "./queries";
import { ReceiptView } from "./receipt-view";

export function ReceiptPage() {
  const { timeZone } = useSession().user;
  const { requestId = "" } = useParams({ strict: false });
  return <ReceiptView requestId={requestId} request={useQuery(receiptQuery(requestId))} timeZone={timeZone} />;
}
