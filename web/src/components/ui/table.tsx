import type { ReactNode } from "react";

import { classes } from "@/lib/classes";

/** One column: its heading, and what a row shows in it. */
export interface Column<Row> {
  heading: string;
  cell: (row: Row) => ReactNode;
  /** Figures stand to the right, so that their digits line up. */
  isNumber?: boolean;
  /** A column of buttons: the heading is read out, not shown. */
  isAction?: boolean;
}

interface TableProps<Row> {
  /** What the table is of, for those who don't see it. */
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
}

/** Rows under headings; on a narrow screen it scrolls by itself. */
export function Table<Row>({ label, columns, rows, keyOf }: TableProps<Row>) {
  const side = (column: Column<Row>) => (column.isNumber || column.isAction ? "text-right tabular-nums" : "text-left");
  return (
    // Focusable, so that the keyboard scrolls it too.
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <section className="relative overflow-x-auto" tabIndex={0} aria-label={label}>
      <table className="w-full text-sm" aria-label={label}>
        <thead>
          <tr className="border-b border-line">
            {columns.map((column) => (
              <th
                key={column.heading}
                scope="col"
                className={classes("px-5 py-2.5 font-medium whitespace-nowrap text-soft", side(column))}
              >
                {column.isAction ? <span className="sr-only">{column.heading}</span> : column.heading}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)} className="border-b border-line last:border-0">
              {columns.map((column) => (
                <td key={column.heading} className={classes("px-5 py-3", side(column))}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
