import { useEffect } from "react";

/** Names the open page in the window's title, as long as it is open. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Clew`;
    return () => {
      document.title = "Clew";
    };
  }, [title]);
}
