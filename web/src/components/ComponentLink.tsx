import { type ReactNode, useEffect, useRef, useState } from "react";
import { componentOf } from "../url/ids";
import { componentAddress } from "../url/route";
import { useAsked } from "./asked";
import { ComponentCard } from "./ComponentCard";
import { Link } from "./Link";
import { Tip } from "./Tip";

/** Milliseconds that a name is pointed at before its card opens. */
const PATIENCE = 250;

/**
 * The name of a component or of one of its nodes: a link to its page that carries the prompt along, with a card of
 * what it does for who points at it. What has no page, such as an embedding, is plain text.
 */
export function ComponentLink({
  node,
  children,
  className = "",
}: {
  /** Such as neuron.5.200 or attn.23.3@13<-9. */
  node: string;
  children?: ReactNode;
  className?: string;
}) {
  const asked = useAsked();
  const id = componentOf(node);
  const [anchor, setAnchor] = useState<DOMRect | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (!anchor) return;
    const close = () => setAnchor(null);
    const dismiss = (event: KeyboardEvent) => {
      if (event.key === "Escape") close();
    };
    // The name moves away under a card that stands still.
    window.addEventListener("scroll", close, { capture: true, passive: true });
    window.addEventListener("keydown", dismiss);
    return () => {
      window.removeEventListener("scroll", close, { capture: true });
      window.removeEventListener("keydown", dismiss);
    };
  }, [anchor]);

  const name = children ?? node.replace("<-", "←");
  if (id === null) return <span className={`font-mono ${className}`}>{name}</span>;
  const open = (element: Element) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setAnchor(element.getBoundingClientRect()), PATIENCE);
  };
  const close = () => {
    clearTimeout(timer.current);
    setAnchor(null);
  };
  return (
    <>
      <Link
        href={componentAddress(id, asked)}
        className={`font-mono underline decoration-line-strong decoration-1 underline-offset-2 hover:decoration-current ${className}`}
        onClick={(event) => {
          // A row's own click is for the rest of the row.
          event.stopPropagation();
          close();
        }}
        onPointerEnter={(event) => {
          if (event.pointerType !== "touch") open(event.currentTarget);
        }}
        onPointerLeave={close}
        onFocus={(event) => {
          if (event.currentTarget.matches(":focus-visible")) open(event.currentTarget);
        }}
        onBlur={close}
      >
        {name}
      </Link>
      {anchor && (
        <Tip anchor={anchor} wide>
          <ComponentCard id={id} />
        </Tip>
      )}
    </>
  );
}
