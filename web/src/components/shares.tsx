/** A part of a whole. */
export interface Share {
  name: string;
  /** How large it is beside the others. */
  value: number;
  /** The same in words. */
  text: string;
  note?: string;
}

/** Parts of a whole, the largest first, each with a bar as long as its part of the largest. */
export function Shares({ label, shares }: { label: string; shares: Share[] }) {
  const top = Math.max(1, ...shares.map((share) => share.value));
  return (
    <ul aria-label={label} className="space-y-3 text-sm">
      {shares.map((share) => (
        <li key={share.name}>
          <div className="flex items-baseline justify-between gap-3">
            <span className="min-w-0 truncate" title={share.name}>
              {share.name}
            </span>
            <span className="shrink-0 tabular-nums">
              {share.text}
              {share.note !== undefined && <span className="ml-2 text-soft">{share.note}</span>}
            </span>
          </div>
          <svg aria-hidden viewBox="0 0 100 1" preserveAspectRatio="none" className="mt-1 h-1.5 w-full rounded-full bg-raised">
            <rect width={(share.value / top) * 100} height="1" className="fill-accent" />
          </svg>
        </li>
      ))}
    </ul>
  );
}
