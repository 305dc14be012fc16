import { FileText, ReceiptText } from "lucide-react";
import type { ReactNode } from "react";

import { type Asked, Loaded } from "@/components/loaded";
import { Badge } from "@/components/ui/badge";
import { Card } from "@/components/ui/card";
import { EmptyState } from "@/components/ui/empty-state";
import { Pager } from "@/components/ui/pager";
import { type Column, Table } from "@/components/ui/table";
import { bytes, cents, date, money } from "@/lib/format";
import type { Invoice, Transaction } from "./queries";

/** Rows that come page by page. */
export interface Paged<Row> extends Asked<Row[]> {
  hasMore: boolean;
  isLoadingMore: boolean;
  onMore: () => void;
}

function invoiceColumns(timeZone: string): Column<Invoice>[] {
  return [
    { heading: "Invoice", cell: (invoice) => <span className="font-medium whitespace-nowrap">{invoice.number ?? "Draft"}</span> },
    { heading: "Date", cell: (invoice) => <Day of={invoice.createdAt} timeZone={timeZone} /> },
    { heading: "Amount", isNumber: true, cell: (invoice) => cents(invoice.amountCents) },
    { heading: "Status", cell: (invoice) => <InvoiceStatus status={invoice.status} /> },
    {
      heading: "PDF",
      isAction: true,
      cell: (invoice) =>
        invoice.pdfUrl ? (
          <a href={invoice.pdfUrl} target="_blank" rel="noreferrer" className="font-medium text-accent hover:underline">
            PDF<span className="sr-only"> of {invoice.number ?? "the draft"}</span>
          </a>
        ) : null,
    },
  ];
}

/** What was billed. */
export function Invoices({ of: invoices, timeZone }: { of: Paged<Invoice>; timeZone: string }) {
  return (
    <Records title="Invoices" of={invoices} columns={invoiceColumns(timeZone)} keyOf={(invoice) => invoice.id}>
      <EmptyState icon={FileText} title="No invoices yet">
        There is one for each payment.
      </EmptyState>
    </Records>
  );
}

function InvoiceStatus({ status }: { status: string }) {
  const kind = status === "paid" ? "good" : status === "failed" ? "danger" : "warning";
  const word = { paid: "Paid", pending: "Pending", failed: "Failed" }[status] ?? status;
  return <Badge kind={kind}>{word}</Badge>;
}

/** Names of the ledger's kinds. */
const KINDS: Record<string, string> = {
  purchase: "Purchase",
  usage: "Usage",
  refund: "Refund",
  bonus: "Bonus",
  adjustment: "Correction",
  credits_earned: "Credits earned",
  credits_redeemed: "Credits redeemed",
};

function transactionColumns(timeZone: string): Column<Transaction>[] {
  return [
    {
      heading: "Date",
      // A day's usage is that of the UTC day; in another zone it would seem to be the day before.
      cell: (row) => <Day of={row.createdAt} timeZone={row.type === "usage" ? "UTC" : timeZone} />,
    },
    { heading: "Kind", cell: (row) => <span className="whitespace-nowrap">{KINDS[row.type] ?? row.type}</span> },
    { heading: "What", cell: (row) => <p className="min-w-44 text-soft wrap-anywhere">{row.description}</p> },
    { heading: "Data", isNumber: true, cell: (row) => <span className="whitespace-nowrap">{signed(row.bytes, bytes)}</span> },
    { heading: "Amount", isNumber: true, cell: (row) => <span className="whitespace-nowrap">{signed(row.amountMicros, money)}</span> },
  ];
}

/** The account's statement. */
export function Transactions({ of: transactions, timeZone }: { of: Paged<Transaction>; timeZone: string }) {
  return (
    <Records title="Transactions" description="All that came and went; the data of all lines is the balance." of={transactions} columns={transactionColumns(timeZone)} keyOf={(row) => row.id}>
      <EmptyState icon={ReceiptText} title="No transactions yet">
        Purchases, bonuses and each day’s usage appear here.
      </EmptyState>
    </Records>
  );
}

function signed(value: number, write: (value: number) => string): string {
  if (value === 0) return "–";
  return value > 0 ? `+${write(value)}` : write(value);
}

function Day({ of: time, timeZone }: { of: string; timeZone: string }) {
  return <span className="whitespace-nowrap">{date(time, timeZone)}</span>;
}

interface RecordsProps<Row> {
  title: string;
  description?: string;
  of: Paged<Row>;
  columns: Column<Row>[];
  keyOf: (row: Row) => string;
  /** What stands there while there are none. */
  children: ReactNode;
}

function Records<Row>({ title, description, of: rows, columns, keyOf, children }: RecordsProps<Row>) {
  return (
    <Card title={title} description={description} isFlush={rows.data !== undefined}>
      <Loaded of={rows} lines={4}>
        {(list) => (list.length === 0 ? children : <Table label={title} columns={columns} rows={list} keyOf={keyOf} />)}
      </Loaded>
      <Pager hasMore={rows.hasMore} isBusy={rows.isLoadingMore} onMore={rows.onMore} />
    </Card>
  );
}
