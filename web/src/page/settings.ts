/** What the page remembers: language and appearance, nothing else. Storage may be forbidden; then it forgets. */

export type Theme = "system" | "light" | "dark";
export const THEMES: readonly Theme[] = ["system", "light", "dark"];

export function remembered(key: "language" | "theme"): string | null {
  try {
    return localStorage.getItem(`pocketcxr-${key}`);
  } catch {
    return null;
  }
}

export function remember(key: "language" | "theme", value: string): void {
  try {
    localStorage.setItem(`pocketcxr-${key}`, value);
  } catch {
    // private windows of some browsers
  }
}

export function themeOf(text: string | null): Theme {
  return THEMES.find((theme) => theme === text) ?? "system";
}

const BARS = { light: "#ffffff", dark: "#11181f" };

export function applyTheme(theme: Theme): void {
  const root = document.documentElement;
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset["theme"] = dark ? "dark" : "light";
  document.querySelector('meta[name="theme-color"]')?.setAttribute("content", dark ? BARS.dark : BARS.light);
}
