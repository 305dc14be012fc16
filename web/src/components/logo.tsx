/** The mark and the name. */
export function Logo() {
  return (
    <span className="inline-flex items-center gap-2.5 text-lg font-semibold tracking-tight">
      <svg aria-hidden viewBox="0 0 32 32" className="size-7">
        <rect width="32" height="32" rx="8" className="fill-accent" />
        <path
          d="M10 16a4 4 0 1 1 4 4c-2 0-3-2-4-4Zm4 4c3 0 4-8 8-8a4 4 0 1 1-4 4"
          className="stroke-on-accent"
          fill="none"
          strokeWidth="2.4"
          strokeLinecap="round"
        />
      </svg>
      IPLoop
    </span>
  );
}
