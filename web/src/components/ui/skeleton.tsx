import { classes } from "@/lib/classes";

/** The place of something that is loading. */
export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={classes("animate-pulse rounded-md bg-raised", className ?? "h-4 w-full")} />;
}

/** Lines of something that is loading; says so to those who don't see it. */
export function SkeletonLines({ lines = 3 }: { lines?: number }) {
  return (
    <output className="block space-y-3">
      <span className="sr-only">Loading</span>
      {Array.from({ length: lines }, (_, line) => (
        <Skeleton key={line} className={classes("h-4", line % 3 === 2 ? "w-2/3" : "w-full")} />
      ))}
    </output>
  );
}
