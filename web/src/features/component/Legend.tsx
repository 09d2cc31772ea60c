import { signed } from "../../format/number";

/** What the colours behind tokens mean. */
export function Legend({
  kind,
  negative = false,
  max = null,
  ofAtlas = false,
}: {
  kind: "attn" | "neuron";
  /** Whether there is a negative activation to explain. */
  negative?: boolean;
  /** The activation of full colour; null: each text has its own. */
  max?: number | null;
  ofAtlas?: boolean;
}) {
  return (
    <p className="flex flex-wrap items-center gap-x-3 gap-y-0.5 text-2xs text-ink-3" data-testid="legend">
      {kind === "attn" ? (
        <>
          <Swatch className="bg-attended">attended to</Swatch>
          <Swatch className="bg-attending">attended from</Swatch>
        </>
      ) : (
        <>
          <Swatch className="bg-active">
            active
            {max !== null && max > 0 && `, full at ${signed(max)}${ofAtlas ? ", the atlas’s maximum" : ""}`}
          </Swatch>
          {negative && <Swatch className="bg-against">negative</Swatch>}
        </>
      )}
    </p>
  );
}

function Swatch({ className, children }: { className: string; children: React.ReactNode }) {
  return (
    <span className="flex items-center gap-1">
      <span className={`size-2 rounded-[2px] ${className}`} />
      {children}
    </span>
  );
}
