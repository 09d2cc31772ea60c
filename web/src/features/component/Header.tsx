import { useOpened } from "../../api/autoencoders";
import type { Component, Model } from "../../api/types";
import { useAsked, useDebugger } from "../../components/asked";
import { ButtonLink, CopyButton } from "../../components/Button";
import { inWords } from "../../components/ComponentCard";
import { Icon } from "../../components/Icon";
import { Link } from "../../components/Link";
import { count } from "../../format/number";
import { useSearch } from "../../url/address";
import { toPython } from "./exports";

/** Which component this is, and the ways on from it. */
export function Header({
  id,
  component,
  previous,
  next,
  model,
}: {
  id: string;
  component: Component | null;
  previous: string | null;
  next: string | null;
  model: Model | undefined;
}) {
  const asked = useAsked();
  const back = useDebugger();
  const autoencoders = useOpened();
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
      <div className="flex items-center gap-1">
        <Step to={previous} label="Previous" keyName="←" />
        <Step to={next} label="Next" keyName="→" />
      </div>
      <h1 className="font-mono text-base font-semibold">{id}</h1>
      {component && (
        <p className="text-xs text-ink-2">
          {inWords(id)}
          {component.autoencoder ? (
            <>
              {`, one of ${count(component.autoencoder.latents)} of `}
              <span className="font-mono">{component.autoencoder.name}</span>
            </>
          ) : (
            model &&
            component.kind !== "latent" &&
            `, one of ${component.kind === "attn" ? `${model.n_heads} heads` : `${model.n_neurons} neurons`} there`
          )}
        </p>
      )}
      <div className="ml-auto flex flex-wrap items-center gap-1.5">
        <ButtonLink href={back} title="Which heads, neurons and latents decide the next token of this prompt">
          This prompt in the debugger
        </ButtonLink>
        <CopyButton text={() => toPython(model?.name ?? "smollm2", id, asked, autoencoders)}>
          Copy as Python
        </CopyButton>
        <CopyButton text={() => window.location.href}>Copy link</CopyButton>
      </div>
    </div>
  );
}

/** A way to a neighbour; the rest of the address stays as it is. */
function Step({ to, label, keyName }: { to: string | null; label: "Previous" | "Next"; keyName: string }) {
  const search = useSearch();
  const look =
    "inline-flex size-6.5 items-center justify-center rounded border border-line bg-panel text-ink-2 hover:border-line-strong hover:text-ink";
  const icon = <Icon name="chevron" size={12} className={label === "Previous" ? "rotate-180" : ""} />;
  if (to === null)
    return (
      <button
        type="button"
        disabled
        aria-label={`${label} component`}
        title={`There is none ${label === "Previous" ? "before" : "after"} it`}
        className={`${look} cursor-not-allowed opacity-40`}
      >
        {icon}
      </button>
    );
  return (
    <Link
      href={`/c/${to}${search}`}
      aria-label={`${label} component: ${to}`}
      title={`${to} (${keyName})`}
      className={look}
    >
      {icon}
    </Link>
  );
}
