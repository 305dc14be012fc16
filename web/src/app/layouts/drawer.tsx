import { X } from "lucide-react";
import { type ReactNode, useEffect, useRef } from "react";

import { IconButton } from "@/components/ui/button";

/** The sidebar of small screens, from the left edge over the page. */
export function Drawer({ onClose, children }: { onClose: () => void; children: ReactNode }) {
  const element = useRef<HTMLDialogElement>(null);
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
      aria-label="Menu"
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === event.currentTarget) onClose();
      }}
      className="m-0 h-dvh max-h-none w-72 max-w-[85vw] border-r border-line bg-surface p-0 text-ink shadow-dialog backdrop:bg-[rgb(8_12_18/0.5)] lg:hidden"
    >
      <IconButton label="Close the menu" onClick={onClose} className="absolute top-2.5 right-3">
        <X aria-hidden className="size-5" />
      </IconButton>
      {children}
    </dialog>
  );
}
