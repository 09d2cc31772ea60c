import { useEffect, useRef } from "react";
import { Button } from "../../components/Button";
import type { Route } from "../../url/route";

type Keys = readonly (readonly [key: string, what: string])[];

const EVERYWHERE: Keys = [
  ["g", "go to a component by its id"],
  ["?", "this help"],
  ["Esc", "close, or leave a field"],
];

const KEYS: Record<Route["page"], Keys> = {
  debugger: [
    ["j / k", "next / previous node"],
    ["Enter", "open or close the node"],
    ["c", "the page of the node’s component"],
    ["a", "switch the node off, or on again: an edit"],
    ["t", "trace it upstream; then q, k, b, v (g, u, b for a neuron) says through what"],
    ["v / V", "verify the node / the most promising ones"],
    ["x", "select the node, to edit or verify several"],
    ["/", "filter the nodes by text"],
  ],
  component: [
    ["← / →", "the component before / after this one"],
    ["e", "explain it: by whom, scored by what, at what cost"],
    ["w", "write words of your own for it, or edit those shown, and score them"],
    ["s", "real against simulated activations"],
    ["/", "edit the prompt"],
  ],
  search: [
    ["j / k", "next / previous component"],
    ["Enter or c", "the component’s page"],
    ["/", "edit what is searched for"],
  ],
  autoencoders: [
    ["j / k", "next / previous autoencoder"],
    ["Enter", "what it is worth"],
    ["n", "train a new one"],
    ["+", "add one of a folder or the hub"],
    ["/", "filter them"],
  ],
  autoencoder: [
    ["j / k", "next / previous latent of the sample"],
    ["r / u / d", "rate it readable / unclear / dead"],
  ],
  explanations: [
    ["j / k", "next / previous explanation of the list"],
    ["Enter or c", "the component’s page"],
  ],
  training: [["l", "losses, FVU and L0 on a logarithmic axis"]],
  cluster: [
    ["j / k", "next / previous worker"],
    ["/", "filter the workers"],
  ],
  train: [],
};

const TITLES: Record<Route["page"], string> = {
  debugger: "Debugger",
  component: "A component’s page",
  search: "Search",
  autoencoders: "Autoencoders",
  autoencoder: "What an autoencoder is worth",
  training: "A training",
  explanations: "Explanations of a model",
  train: "A new training",
  cluster: "The cluster",
};

const WORDS = [
  [
    "D",
    "the mean logit of the targets minus that of the distractors; without distractors, minus the mean logit",
  ],
  ["Direct effect", "what a node's write adds to D straight through the final norm; all of them add up to D"],
  [
    "Estimated effect",
    "activation × gradient: a first-order guess of what switching the node off would cost. It ranks; it does not prove",
  ],
  [
    "Verified effect",
    "D as is minus D when the model runs without the node: measured, and so the answer to what the estimate guesses. ≠ marks where they disagree",
  ],
  [
    "Edit",
    "a change made inside the model while it runs: zero, mean, patch (the value on the second prompt), scale, set, steer, cut. Edits are applied from the top of the stack down",
  ],
  [
    "Trace",
    "explains a node in place of D: S is its own input, such as an attention score through its query, and every table is then about S. The trail above the answer leads back",
  ],
  ["Write norm", "the length of the vector that the node adds to the residual stream"],
  [
    "Activation",
    "a neuron's value; for a head read from one token its attention weight; for a whole head the norm of what it mixed",
  ],
  [
    "Atlas",
    "what every head and neuron does over a corpus: its strongest and random examples, how often and how strongly it fires. clew collect makes one",
  ],
  [
    "Explanation",
    "words for what a component does in general, found from examples of the atlas, and scored on others that whoever wrote them never saw",
  ],
  [
    "Simulation score",
    "how well the words alone say where a component fires: the correlation of simulated and real activations over all tokens of the test texts. 1 is perfect, 0 worth nothing",
  ],
  [
    "Baselines",
    "what a score would be without words: table looks each token up in the examples, mean says the same everywhere, shuffled takes the answers to other texts. Words that do not beat the table say no more than a list of tokens",
  ],
  [
    "z",
    "standard deviations above the component’s mean over the atlas: how unusual an activation is for it. A large activation of one that is always large has a small z",
  ],
  [
    "Autoencoder",
    "a sparse one rewrites what a layer computes as a sum of a few of many latents; what it fails to rewrite is its error",
  ],
  [
    "FVU",
    "share of the variance that an autoencoder does not reconstruct: 0 perfect, 1 no better than the mean",
  ],
  ["L0", "how many latents fire on a token, on average"],
  [
    "CE recovered",
    "how much of the loss that the model has without the site a reconstruction spares it: 100% is all",
  ],
  [
    "Pair value",
    "for a head: the length of the vector that one token receives from another, the attention weight times the length of the value written",
  ],
  ["attn.23.3@13<-1", "head 3 of layer 23 at token 13, the part read from token 1; everything counts from 0"],
] as const;

/** The keys, those of the open page first, and the words. */
export function Help({ page, onClose }: { page: Route["page"]; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      onClose={onClose}
      aria-labelledby="help-title"
      className="m-auto max-h-[calc(100dvh-2rem)] w-[min(34rem,calc(100vw-2rem))] rounded-lg border border-line-strong bg-panel p-4 text-ink backdrop:bg-black/40"
    >
      <div className="flex items-center justify-between">
        <h2 id="help-title" className="text-base font-semibold">
          Help
        </h2>
        <Button look="bare" icon="cross" aria-label="Close" onClick={() => dialog.current?.close()} />
      </div>
      <KeyList title="Keys everywhere" keys={EVERYWHERE} />
      {[page, ...PAGES.filter((other) => other !== page)]
        .filter((name) => KEYS[name].length)
        .map((name) => (
          <KeyList key={name} title={TITLES[name]} keys={KEYS[name]} />
        ))}
      <h3 className="mt-3 text-xs font-medium text-ink-2">Words</h3>
      <dl className="mt-1 grid gap-1.5">
        {WORDS.map(([word, meaning]) => (
          <div key={word}>
            <dt className="inline font-medium">{word}</dt> <dd className="inline text-ink-2">{meaning}.</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}

const PAGES = [
  "debugger",
  "component",
  "search",
  "autoencoders",
  "autoencoder",
  "training",
  "explanations",
  "cluster",
] as const satisfies readonly Route["page"][];

function KeyList({ title, keys }: { title: string; keys: Keys }) {
  return (
    <>
      <h3 className="mt-2.5 text-xs font-medium text-ink-2">{title}</h3>
      <dl className="mt-1 grid grid-cols-[5.5rem_1fr] gap-y-1">
        {keys.map(([key, what]) => (
          <div key={key} className="col-span-2 grid grid-cols-subgrid">
            <dt className="font-mono text-xs">{key}</dt>
            <dd className="text-ink-2">{what}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}
