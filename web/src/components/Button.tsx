import type { AnchorHTMLAttributes, ButtonHTMLAttributes } from "react";
import { useEffect, useState } from "react";
import { Icon, type IconName } from "./Icon";
import { Link } from "./Link";

const BASE =
  "inline-flex items-center justify-center gap-1.5 rounded border text-xs whitespace-nowrap transition-colors disabled:opacity-50 disabled:cursor-not-allowed";
const LOOKS = {
  plain: "border-line bg-panel text-ink-2 hover:border-line-strong hover:text-ink",
  strong: "border-ink bg-ink font-medium text-page hover:opacity-85",
  bare: "border-transparent text-ink-2 hover:bg-raised hover:text-ink",
} as const;

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: keyof typeof LOOKS;
  icon?: IconName;
}

export function Button({ look = "plain", icon, className = "", children, ...rest }: ButtonProps) {
  const size = children ? "h-6.5 px-2" : "size-6.5";
  return (
    <button type="button" className={`${BASE} ${LOOKS[look]} ${size} ${className}`} {...rest}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A link that looks like a button: for what leads to another page. */
export function ButtonLink({
  look = "plain",
  ...rest
}: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string; look?: keyof typeof LOOKS }) {
  return <Link className={`${BASE} ${LOOKS[look]} h-6.5 px-2`} {...rest} />;
}

/** Copies what `text` gives when pressed, and says for a moment that it did, or why it could not. */
export function CopyButton({ text, children }: { text: () => string; children: string }) {
  const [state, setState] = useState<"idle" | "done" | "refused">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = setTimeout(() => setState("idle"), 1600);
    return () => clearTimeout(timer);
  }, [state]);

  const copy = () =>
    navigator.clipboard.writeText(text()).then(
      () => setState("done"),
      () => setState("refused"),
    );
  return (
    <Button icon={state === "done" ? "check" : "copy"} onClick={copy}>
      <span aria-live="polite" className="grid">
        {/* All three words take the same place, so that the button keeps its width. */}
        {(["idle", "done", "refused"] as const).map((name) => (
          <span
            key={name}
            aria-hidden={name !== state}
            className={`col-start-1 row-start-1 ${name === state ? "" : "invisible"}`}
          >
            {name === "idle" ? children : name === "done" ? "Copied" : "Refused"}
          </span>
        ))}
      </span>
    </Button>
  );
}
