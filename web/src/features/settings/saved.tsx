import { Button } from "@/components/ui/button";

/** The end of a form that stays open: its button, and that it was saved. */
export function SaveBar({ label, isBusy, isSaved }: { label: string; isBusy: boolean; isSaved: boolean }) {
  return (
    <div className="flex items-center gap-3">
      <Button type="submit" isBusy={isBusy}>
        {label}
      </Button>
      <output className="text-sm text-good">
        {isSaved && "Saved"}
      </output>
    </div>
  );
}
