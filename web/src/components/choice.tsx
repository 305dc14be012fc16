import { classes } from "@/lib/classes";

interface ChoiceProps<Value> {
  label: string;
  options: readonly { value: Value; label: string }[];
  chosen: Value;
  onChoose: (value: Value) => void;
}

/** One of a few, all in sight. */
export function Choice<Value extends string | number>({ label, options, chosen, onChoose }: ChoiceProps<Value>) {
  return (
    <fieldset className="inline-flex max-w-full flex-wrap rounded-lg border border-line bg-surface p-1">
      <legend className="sr-only">{label}</legend>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          aria-pressed={option.value === chosen}
          onClick={() => onChoose(option.value)}
          className={classes(
            "rounded-md px-3 py-1.5 text-sm font-medium whitespace-nowrap",
            option.value === chosen ? "bg-accent-soft text-accent" : "text-soft hover:bg-raised hover:text-ink",
          )}
        >
          {option.label}
        </button>
      ))}
    </fieldset>
  );
}
