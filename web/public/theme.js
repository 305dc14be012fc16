// The theme that was chosen in this browser (src/lib/theme.ts); without a choice the system's stands.
try {
  const theme = localStorage.getItem("iploop.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage, no choice.
}
