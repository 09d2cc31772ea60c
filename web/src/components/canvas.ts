import { useEffect, useState } from "react";
import { useMedia } from "./useMedia";

/** What a CSS colour is on this element, as a canvas can take it. */
export function resolved(element: HTMLElement, colour: string): string {
  const before = element.style.color;
  element.style.color = colour;
  const value = getComputedStyle(element).color;
  element.style.color = before;
  return value;
}

/** A word that changes whenever CSS colours may resolve to others: a canvas is then painted again. */
export function useColourScheme(): string {
  const dark = useMedia("(prefers-color-scheme: dark)");
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  useEffect(() => {
    const observer = new MutationObserver(() => setTheme(document.documentElement.dataset.theme));
    observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => observer.disconnect();
  }, []);
  return `${theme ?? "system"} ${dark ? "dark" : "light"}`;
}
