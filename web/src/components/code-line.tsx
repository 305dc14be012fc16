import { CopyButton } from "./ui/copy-button";

/** Something to be copied as it stands: a key, a command. */
export function CodeLine({ label, text }: { label: string; text: string }) {
  return (
    <div>
      <div className="mb-1.5 flex items-center justify-between gap-3">
        <span className="text-sm font-medium">{label}</span>
        <CopyButton text={text} label={`Copy ${label.toLowerCase()}`} />
      </div>
      <code className="block rounded-lg bg-raised px-3 py-2.5 font-mono text-sm wrap-anywhere">{text}</code>
    </div>
  );
}
