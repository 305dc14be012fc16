import { Button } from "./button";

interface PagerProps {
  /** Whether there are further rows; the API answered a cursor. */
  hasMore: boolean;
  isBusy: boolean;
  onMore: () => void;
}

/** More rows below those that are shown: the API pages by cursor, so there is no page 7 to jump to. */
export function Pager({ hasMore, isBusy, onMore }: PagerProps) {
  if (!hasMore) return null;
  return (
    <div className="flex justify-center border-t border-line px-5 py-3">
      <Button look="secondary" size="small" isBusy={isBusy} onClick={onMore}>
        Show more
      </Button>
    </div>
  );
}
