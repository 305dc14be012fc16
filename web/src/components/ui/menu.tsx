import { type ReactNode, useEffect, useId, useRef, useState } from "react";

interface MenuProps {
  /** What the button says to those who don't see it. */
  label: string;
  /** What the button shows. */
  button: ReactNode;
  children: ReactNode;
}

/** A button that opens a small panel below it. Escape, a click elsewhere and leaving by Tab close it. */
export function Menu({ label, button, children }: MenuProps) {
  const [isOpen, setOpen] = useState(false);
  const around = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const id = useId();
  useEffect(() => {
    if (!isOpen) return;
    const onElsewhere = (event: Event) => {
      if (event.target instanceof Node && !around.current?.contains(event.target)) setOpen(false);
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      opener.current?.focus();
    };
    document.addEventListener("pointerdown", onElsewhere);
    document.addEventListener("focusin", onElsewhere);
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("pointerdown", onElsewhere);
      document.removeEventListener("focusin", onElsewhere);
      document.removeEventListener("keydown", onKey);
    };
  }, [isOpen]);
  return (
    <div ref={around} className="relative">
      <button
        ref={opener}
        type="button"
        aria-label={label}
        aria-expanded={isOpen}
        aria-controls={isOpen ? id : undefined}
        onClick={() => setOpen(!isOpen)}
        className="flex items-center rounded-full"
      >
        {button}
      </button>
      {isOpen && (
        <div
          id={id}
          className="absolute right-0 z-30 mt-2 w-64 rounded-xl border border-line bg-surface p-2 shadow-dialog"
        >
          {children}
        </div>
      )}
    </div>
  );
}
