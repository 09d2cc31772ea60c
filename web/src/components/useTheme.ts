import { useEffect, useState } from "react";
import { remember } from "./storage";

export const THEMES = ["light", "system", "dark"] as const;
export type Theme = (typeof THEMES)[number];

/** The chosen theme (public/theme.js applies it before the first paint) and a function that changes it. */
export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState<Theme>(() => {
    const chosen = document.documentElement.dataset.theme;
    return chosen === "light" || chosen === "dark" ? chosen : "system";
  });
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    remember("clew.theme", theme);
  }, [theme]);
  return [theme, setTheme];
}
