import type { AnchorHTMLAttributes } from "react";
import { go } from "../url/address";

/** A link within the page: followed without loading it anew, unless a new tab or window is asked for. */
export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  return (
    <a
      href={href}
      onClick={(event) => {
        onClick?.(event);
        if (event.defaultPrevented || event.button !== 0) return;
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        go(href);
        window.scrollTo(0, 0);
      }}
      {...rest}
    />
  );
}
