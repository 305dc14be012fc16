import { X } from "lucide-react";
import { type ReactNode, useEffect, useId, useRef } from "react";

import { Button, IconButton } from "./button";
import { ErrorAlert } from "./form";

interface DialogProps {
  title: string;
  /** Called by Escape, the cross and a click beside it. */
  onClose: () => void;
  /** Only its own buttons close it: for what is shown once. */
  isSticky?: boolean;
  children: ReactNode;
}

/** Something to be done before going on. Shown as long as it is rendered; the browser keeps the focus inside and gives it back. */
export function Dialog({ title, onClose, isSticky = false, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    // Escape is the keyboard's way to the click beside it.
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-noninteractive-element-interactions
    <dialog
      ref={element}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        if (!isSticky) onClose();
      }}
      onClick={(event) => {
        if (event.target === event.currentTarget && !isSticky) onClose();
      }}
      className="m-auto w-[min(32rem,calc(100vw-2rem))] rounded-xl border border-line bg-surface p-0 text-ink shadow-dialog backdrop:bg-[rgb(8_12_18/0.5)]"
    >
      <div className="p-5">
        <h2 id={id} className="mb-4 pr-8 text-lg font-semibold">
          {title}
        </h2>
        {children}
        {/* Last, so that the browser puts the focus on the first thing to be done. */}
        {!isSticky && (
          <IconButton label="Close" onClick={onClose} className="absolute top-4 right-3.5">
            <X aria-hidden className="size-4" />
          </IconButton>
        )}
      </div>
    </dialog>
  );
}

/** The buttons at a dialog's end, the main one last. */
export function DialogActions({ children }: { children: ReactNode }) {
  return <div className="mt-6 flex flex-wrap justify-end gap-2">{children}</div>;
}

interface ConfirmProps {
  title: string;
  /** What will happen. */
  children: ReactNode;
  /** The verb on the button. */
  verb: string;
  isBusy: boolean;
  error: Error | null;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something that can't be taken back. */
export function ConfirmDialog({ title, children, verb, isBusy, error, onConfirm, onClose }: ConfirmProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="space-y-3 text-sm">
        <ErrorAlert error={error} />
        {children}
      </div>
      <DialogActions>
        <Button look="secondary" onClick={onClose}>
          Cancel
        </Button>
        <Button look="danger" isBusy={isBusy} onClick={onConfirm}>
          {verb}
        </Button>
      </DialogActions>
    </Dialog>
  );
}
