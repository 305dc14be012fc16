import { LoaderCircle } from "lucide-react";
import type { ButtonHTMLAttributes } from "react";

import { classes } from "@/lib/classes";

export type ButtonLook = "primary" | "secondary" | "quiet" | "danger";

const LOOKS: Record<ButtonLook, string> = {
  primary: "bg-accent text-on-accent hover:bg-accent-strong",
  secondary: "border border-line bg-surface text-ink hover:bg-raised",
  quiet: "text-soft hover:bg-raised hover:text-ink",
  danger: "bg-danger text-on-danger hover:bg-danger-strong",
};

/** What makes a button; a link that should look like one takes it too. */
export function buttonClasses(look: ButtonLook = "primary", size: "normal" | "small" = "normal"): string {
  const base =
    "inline-flex items-center justify-center gap-2 rounded-lg font-medium whitespace-nowrap transition-colors disabled:cursor-not-allowed disabled:opacity-55";
  return classes(base, size === "small" ? "h-8 px-3 text-sm" : "h-10 px-4 text-sm", LOOKS[look]);
}

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: ButtonLook;
  size?: "normal" | "small";
  /** Something is under way: shown, and not to be pressed again. */
  isBusy?: boolean;
}

/** A button. One that is disabled for a reason says it in `title`. */
export function Button({ look, size, isBusy = false, className, children, disabled, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled || isBusy}
      aria-busy={isBusy || undefined}
      className={classes(buttonClasses(look, size), className)}
    >
      {isBusy && <LoaderCircle aria-hidden className="size-4 animate-spin" />}
      {children}
    </button>
  );
}

interface IconButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  /** What it does, for those who don't see the icon. */
  label: string;
}

/** A square button that shows an icon only. */
export function IconButton({ label, className, ...rest }: IconButtonProps) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      {...rest}
      className={classes(
        "inline-flex size-9 shrink-0 items-center justify-center rounded-lg text-soft transition-colors hover:bg-raised hover:text-ink disabled:cursor-not-allowed disabled:opacity-55",
        className,
      )}
    />
  );
}
