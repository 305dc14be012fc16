import { Monitor, Moon, Sun } from "lucide-react";

import { classes } from "@/lib/classes";
import { type Theme, useTheme } from "@/lib/theme";

const CHOICES = [
  { theme: "system", name: "System", icon: Monitor },
  { theme: "light", name: "Light", icon: Sun },
  { theme: "dark", name: "Dark", icon: Moon },
] as const satisfies readonly { theme: Theme; name: string; icon: unknown }[];

/** Light, dark, or as the device is. */
export function ThemeChoice() {
  const [chosen, choose] = useTheme();
  return (
    <fieldset className="flex gap-1 rounded-lg bg-raised p-1">
      <legend className="sr-only">Theme</legend>
      {CHOICES.map(({ theme, name, icon: Icon }) => (
        <label
          key={theme}
          className={classes(
            "flex flex-1 cursor-pointer items-center justify-center gap-1.5 rounded-md px-2 py-1 text-xs font-medium has-focus-visible:outline-2 has-focus-visible:outline-accent",
            chosen === theme ? "bg-surface text-ink shadow-card" : "text-soft hover:text-ink",
          )}
        >
          <input
            type="radio"
            name="theme"
            value={theme}
            checked={chosen === theme}
            onChange={() => choose(theme)}
            className="sr-only"
          />
          <Icon aria-hidden className="size-3.5" />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
