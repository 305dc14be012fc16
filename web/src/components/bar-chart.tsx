import { useId, useState } from "react";

/** One part of every bar, from the bottom up. */
export interface Part {
  label: string;
  /** Class that fills the part with a colour token. */
  fill: string;
}

/** One bar, with a value for each part. */
export interface Bar {
  label: string;
  values: number[];
}

interface Props {
  title: string;
  parts: Part[];
  bars: Bar[];
  /** How a value is written. */
  format: (value: number) => string;
  /** What the bars stand for, as the head of the table's first column. */
  unit: string;
}

/**
 * Stacked bars over time.
 *
 * The drawing says only its sum to those who can't see it; all its numbers are in the table below it.
 */
export function BarChart({ title, parts, bars, format, unit }: Props) {
  const id = useId();
  const [shown, setShown] = useState<number | null>(null);
  const totals = bars.map((bar) => sum(bar.values));
  const top = roundUp(Math.max(0, ...totals));
  const pointed = shown === null ? undefined : bars[shown];
  return (
    <figure aria-labelledby={id} className="min-w-0">
      <figcaption className="mb-3 flex flex-wrap items-baseline justify-between gap-x-6 gap-y-1">
        <span id={id} className="font-semibold">
          {title}
        </span>
        <Legend parts={parts} bar={pointed} format={format} />
      </figcaption>
      <div className="grid grid-cols-[auto_1fr] gap-x-2 text-xs text-soft">
        <div className="relative h-44 text-right tabular-nums" aria-hidden="true">
          {/* Holds the column as wide as its widest label. */}
          <span className="invisible">{format(top)}</span>
          {[top, top / 2, 0].map((value, at) => (
            <span key={at} className="absolute right-0 -translate-y-1/2" style={{ top: `${at * 50}%` }}>
              {format(value)}
            </span>
          ))}
        </div>
        <svg
          role="img"
          aria-label={`${title}: ${format(sum(totals))} in all`}
          viewBox={`0 0 ${Math.max(bars.length, 1)} 100`}
          preserveAspectRatio="none"
          className="h-44 w-full overflow-visible"
          onPointerLeave={() => setShown(null)}
        >
          {[0, 50, 100].map((y) => (
            <line key={y} x1={0} x2={bars.length} y1={y} y2={y} className="stroke-line" vectorEffect="non-scaling-stroke" />
          ))}
          {bars.map((bar, at) => (
            <g key={at} onPointerEnter={() => setShown(at)} className={shown === null || shown === at ? "" : "opacity-50"}>
              <rect x={at} y={0} width={1} height={100} className="fill-transparent" />
              {stack(bar.values, top).map(({ y, height }, part) => (
                <rect key={part} x={at + 0.1} y={y} width={0.8} height={height} className={parts[part]?.fill ?? ""} />
              ))}
            </g>
          ))}
        </svg>
        <span />
        <div className="relative mt-1 h-4" aria-hidden="true">
          {ticks(bars).map(({ label, at, align }) => (
            <span key={at} className={`absolute whitespace-nowrap ${align}`} style={{ left: `${at * 100}%` }}>
              {label}
            </span>
          ))}
        </div>
      </div>
      <details className="mt-3 text-sm">
        <summary className="cursor-pointer text-soft">As a table</summary>
        {/* Focusable, so that the keyboard scrolls it too. */}
        {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
        <section className="relative mt-2 max-h-64 overflow-auto" tabIndex={0} aria-label={`${title}, its numbers`}>
          <table className="w-full text-left tabular-nums">
            <caption className="sr-only">{title}</caption>
            <thead>
              <tr>
                <th scope="col" className="py-1 pr-4 font-medium">
                  {unit}
                </th>
                {parts.map((part) => (
                  <th key={part.label} scope="col" className="py-1 pr-4 text-right font-medium">
                    {part.label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {bars.map((bar) => (
                <tr key={bar.label} className="border-t border-line">
                  <th scope="row" className="py-1 pr-4 font-normal">
                    {bar.label}
                  </th>
                  {bar.values.map((value, at) => (
                    <td key={at} className="py-1 pr-4 text-right">
                      {format(value)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      </details>
    </figure>
  );
}

/** The parts with their colours, and with their values in the bar that is pointed at. */
function Legend({ parts, bar, format }: { parts: Part[]; bar: Bar | undefined; format: (value: number) => string }) {
  return (
    <span className="flex flex-wrap gap-x-4 text-sm text-soft tabular-nums">
      {bar ? <span>{bar.label}</span> : null}
      {parts.map((part, at) => (
        <span key={part.label} className="flex items-center gap-1.5">
          <svg aria-hidden="true" className="size-2.5">
            <rect width="100%" height="100%" rx="2" className={part.fill} />
          </svg>
          {part.label}
          {bar ? ` ${format(bar.values[at] ?? 0)}` : null}
        </span>
      ))}
    </span>
  );
}

/** Where each part of a bar is on a scale of 100 that ends at `top`. */
function stack(values: number[], top: number): { y: number; height: number }[] {
  let y = 100;
  return values.map((value) => {
    const height = top > 0 ? (value / top) * 100 : 0;
    y -= height;
    return { y, height };
  });
}

/** The labels of at most five bars, with their places from 0 to 1; the outermost stay inside the drawing. */
function ticks(bars: Bar[]): { label: string; at: number; align: string }[] {
  const last = bars.length - 1;
  const wanted = last < 1 ? [0] : [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * last));
  return [...new Set(wanted)].flatMap((index) => {
    const bar = bars[index];
    if (!bar) return [];
    if (index === 0 && last > 0) return [{ label: bar.label, at: 0, align: "" }];
    if (index === last && last > 0) return [{ label: bar.label, at: 1, align: "-translate-x-full" }];
    // Between the outermost there is room on wide screens only.
    const align = index === Math.round(0.5 * last) || last < 1 ? "-translate-x-1/2" : "-translate-x-1/2 max-md:hidden";
    return [{ label: bar.label, at: (index + 0.5) / bars.length, align }];
  });
}

/** Ends of the scale, in powers of ten: half of each is a round number too. */
const TOPS = [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10];

/** A round number not below the value, of which half is round. */
function roundUp(value: number): number {
  if (value <= 10) return Math.max(2, Math.ceil(value / 2) * 2);
  const power = 10 ** Math.floor(Math.log10(value));
  return TOPS.map((top) => Math.round(top * power)).find((top) => top >= value) ?? value;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
