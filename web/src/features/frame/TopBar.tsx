import { type RefObject, useEffect, useState } from "react";
import { useTrainings } from "../../api/autoencoders";
import type { Model } from "../../api/types";
import { useAsked, useDebugger } from "../../components/asked";
import { Button } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { Link } from "../../components/Link";
import { Segmented } from "../../components/Segmented";
import { THEMES, type Theme, useTheme } from "../../components/useTheme";
import { count, reached } from "../../format/number";
import { go, usePath } from "../../url/address";
import { readComponent } from "../../url/ids";
import {
  type Asked,
  AUTOENCODERS,
  CLUSTER,
  componentAddress,
  EXPLANATIONS,
  OF_AUTOENCODERS,
  type Route,
  searchAddress,
  trainingAddress,
} from "../../url/route";
import { useCollecting } from "../atlas/Collecting";
import { shareDone } from "../atlas/progress";
import { useExplaining } from "../explain/Explaining";

const ICONS = { light: "sun", system: "system", dark: "moon" } as const;

/** What all pages share: where one is, which model it is about, and a way to any component. */
export function TopBar({
  page,
  model,
  version,
  finder,
  onHelp,
}: {
  page: Route["page"];
  model: Model | undefined;
  version: string | undefined;
  /** The field that goes to a component. */
  finder: RefObject<HTMLInputElement | null>;
  onHelp: () => void;
}) {
  const [theme, setTheme] = useTheme();
  const asked = useAsked();
  const back = useDebugger();
  return (
    <header className="flex min-h-11 flex-wrap items-center gap-x-3 max-sm:gap-x-2 gap-y-1.5 border-b border-line bg-panel px-3 py-1.5">
      <Link href="/" className="flex shrink-0 items-center gap-1.5" title={version && `Clew ${version}`}>
        <img src="/clew.svg" alt="" className="size-5" />
        <span className="text-[15px] font-semibold tracking-tight max-sm:sr-only">clew</span>
      </Link>
      <nav aria-label="Pages" className="flex shrink-0 gap-0.5 max-sm:gap-0">
        <Tab href={back} current={page === "debugger"}>
          Debugger
        </Tab>
        <Tab href={searchAddress(asked)} current={page === "search" || page === "component"}>
          Components
        </Tab>
        <Tab href={AUTOENCODERS} current={OF_AUTOENCODERS.includes(page)}>
          Autoencoders
        </Tab>
        <Tab href={EXPLANATIONS} current={page === "explanations"}>
          Explanations
        </Tab>
      </nav>
      {model && (
        <p className="min-w-0 flex-1 basis-0 truncate text-xs text-ink-2 max-lg:hidden">
          <span className="font-mono text-ink">{model.name}</span>
          <span className="max-xl:hidden">
            {` · ${model.family} · ${model.n_layers} layers × ${model.n_heads} heads · ${count(model.n_neurons)} neurons a layer · ${model.dtype} on ${model.device}`}
          </span>
        </p>
      )}
      <div className="ml-auto flex shrink-0 items-center gap-2 max-sm:w-full sm:order-none max-sm:order-last">
        <CollectingNote />
        <TrainingNote page={page} />
        <ExplainingNote />
        <GoTo model={model} finder={finder} asked={asked} />
      </div>
      <div className="flex shrink-0 items-center gap-2 max-sm:ml-auto">
        <Segmented<Theme>
          label="Theme"
          value={theme}
          onChange={setTheme}
          choices={THEMES.map((value) => ({
            value,
            title: `${value[0]?.toUpperCase()}${value.slice(1)} theme`,
            label: (
              <>
                <Icon name={ICONS[value]} />
                <span className="sr-only">{value}</span>
              </>
            ),
          }))}
        />
        <Link
          href={CLUSTER}
          aria-label="Cluster"
          aria-current={page === "cluster" ? "page" : undefined}
          title="The cluster that work runs on: its machines and workers"
          className={`inline-flex size-6.5 items-center justify-center rounded ${
            page === "cluster" ? "bg-raised text-ink" : "text-ink-2 hover:bg-raised hover:text-ink"
          }`}
        >
          <Icon name="machines" />
        </Link>
        <Button look="bare" onClick={onHelp} aria-label="Help" title="Help (?)" className="font-semibold">
          ?
        </Button>
      </div>
    </header>
  );
}

function Tab({ href, current, children }: { href: string; current: boolean; children: string }) {
  return (
    <Link
      href={href}
      aria-current={current ? "page" : undefined}
      className={`rounded px-2 py-1 text-xs max-sm:px-1 ${
        current ? "bg-raised font-medium text-ink" : "text-ink-2 hover:bg-raised hover:text-ink"
      }`}
    >
      {children}
    </Link>
  );
}

/** A field that takes any component's id and goes to its page. */
function GoTo({
  model,
  finder,
  asked,
}: {
  model: Model | undefined;
  finder: RefObject<HTMLInputElement | null>;
  asked: Asked | null;
}) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const path = usePath();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a page that is reached needs no further going
  useEffect(() => {
    setText("");
    setProblem(null);
  }, [path]);
  const submit = (event: React.FormEvent) => {
    event.preventDefault();
    const found = readComponent(text, model);
    if ("problem" in found) return setProblem(found.problem);
    finder.current?.blur();
    go(componentAddress(found.id, asked));
    window.scrollTo(0, 0);
  };
  return (
    <form onSubmit={submit} aria-label="Go to a component" className="relative max-sm:w-full">
      <label className="flex h-6.5 items-center gap-1 rounded border border-line bg-page px-1.5 focus-within:outline-2 focus-within:outline-focus">
        <Icon name="search" size={12} className="shrink-0 text-ink-3" />
        <span className="sr-only">Go to component</span>
        <input
          ref={finder}
          value={text}
          placeholder="Go to attn.23.3, neuron.5.200  g"
          title="A component’s id, then Enter"
          spellCheck={false}
          autoCapitalize="off"
          autoComplete="off"
          aria-invalid={problem !== null}
          aria-describedby={problem === null ? undefined : "go-to-problem"}
          onChange={(event) => {
            setText(event.target.value);
            setProblem(null);
          }}
          onBlur={() => setProblem(null)}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            setText("");
            setProblem(null);
            event.currentTarget.blur();
          }}
          className="w-56 min-w-0 bg-transparent font-mono text-xs outline-none placeholder:font-sans max-sm:w-full"
        />
      </label>
      {problem !== null && (
        <p
          id="go-to-problem"
          role="alert"
          className="absolute top-full right-0 z-30 mt-1 w-80 max-w-[calc(100vw-1.5rem)] rounded border border-bad/40 bg-bad-wash px-2.5 py-1.5 text-xs text-bad shadow-[0_4px_16px_rgb(0_0_0/0.14)] max-sm:w-full"
        >
          {problem}
        </p>
      )}
    </form>
  );
}

/** A collection goes on while one looks at other pages. */
function CollectingNote() {
  const { running, progress } = useCollecting();
  if (!running) return null;
  return (
    <p role="status" className="num text-2xs text-ink-2" title="An atlas is being collected">
      collecting {progress ? reached(shareDone(progress), 1) : "…"}
    </p>
  );
}

/** Explaining goes on as well. */
function ExplainingNote() {
  const { running, progress } = useExplaining();
  if (!running) return null;
  return (
    <p role="status" className="num text-2xs text-ink-2" title="Components are being explained">
      explaining {progress?.total ? reached(progress.done + progress.failed, progress.total) : "…"}
    </p>
  );
}

/** A training goes on too, and its page is one press away. */
function TrainingNote({ page }: { page: Route["page"] }) {
  const running = useTrainings().data?.rows.find(({ stage }) => stage === "running");
  if (!running || page === "training") return null;
  return (
    <Link
      href={trainingAddress(running.name)}
      className="num text-2xs text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink"
      title={`${running.name} is being trained`}
    >
      training {reached(running.tokens, running.total)}
    </Link>
  );
}
