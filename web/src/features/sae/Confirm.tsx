import { useEffect, useRef, useState } from "react";
import { Button } from "../../components/Button";

/** A button for what cannot be taken back: pressed once it asks, pressed again it does. */
export function Confirm({
  label,
  question,
  sure,
  title,
  disabled = false,
  onSure,
}: {
  label: string;
  /** What is asked, and what the second button says. */
  question: string;
  sure: string;
  title: string;
  disabled?: boolean;
  onSure: () => void;
}) {
  const [asking, setAsking] = useState(false);
  const second = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (asking) second.current?.querySelector("button")?.focus();
  }, [asking]);
  if (!asking || disabled)
    return (
      <Button title={title} disabled={disabled} onClick={() => setAsking(true)}>
        {label}
      </Button>
    );
  return (
    <span
      ref={second}
      role="alertdialog"
      aria-label={question}
      className="inline-flex items-center gap-1.5 text-xs whitespace-nowrap text-bad"
      onKeyDown={(event) => event.key === "Escape" && setAsking(false)}
    >
      {question}
      <Button
        className="border-bad! text-bad!"
        onClick={() => {
          setAsking(false);
          onSure();
        }}
      >
        {sure}
      </Button>
      <Button look="bare" onClick={() => setAsking(false)}>
        Keep
      </Button>
    </span>
  );
}
