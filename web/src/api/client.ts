import { type Chosen, query } from "../url/params";
import { escaped } from "../url/route";
import type {
  AddRequest,
  Alignment,
  Answer,
  AtlasStatus,
  Autoencoder,
  BestExplanations,
  Card,
  Cluster,
  CoFirings,
  ComparedAnswers,
  Component,
  ComponentExplanations,
  Example,
  ExplainPlan,
  ExplainRequest,
  Explanation,
  Filters,
  Firings,
  FoundExplanations,
  Lens,
  LLMs,
  NodeDetail,
  NodeExplainRequest,
  NodeList,
  NodePlan,
  OnPrompt,
  Overview,
  Pairs,
  Pattern,
  PromptSearch,
  PushMatches,
  PushSearch,
  Question,
  Rating,
  Report,
  ScoredText,
  Source,
  Status,
  TokenCheck,
  TokenList,
  TokenMatches,
  TokenSearch,
  Training,
  Trainings,
  TrainPoint,
  TrainRequest,
  Weights,
  WordsSearch,
} from "./types";

/** What went wrong, in the server's one shape: a sentence and what to do about it. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** The performance mark set when an answer has arrived whole; see `usePaintMeasure`. */
export const ANSWERED = "clew:answer";

export const api = {
  status: (signal?: AbortSignal) => call<Status>("/api/status", undefined, signal),
  tokens: (text: string, bos: boolean, signal?: AbortSignal) =>
    call<TokenList>("/api/tokens", { text, bos }, signal),
  token: (text: string, signal?: AbortSignal) => call<TokenCheck>("/api/token", { text }, signal),
  debug: (question: Question, signal?: AbortSignal) => call<Answer>("/api/debug", question, signal, ANSWERED),
  nodes: (question: Question, filters: Filters, signal?: AbortSignal) =>
    call<NodeList>("/api/nodes", { ...question, ...filters }, signal),
  node: (question: Question, node: string, signal?: AbortSignal) =>
    call<NodeDetail>("/api/node", { ...question, node }, signal),
  lens: (question: Question, signal?: AbortSignal) => call<Lens>("/api/lens", question, signal),
  compare: (question: Question, filters: Filters, against: "edited" | "second", signal?: AbortSignal) =>
    call<ComparedAnswers>("/api/compare", { ...question, ...filters, against }, signal),
  align: (prompt: string, second: string, bos: boolean, signal?: AbortSignal) =>
    call<Alignment>("/api/align", { prompt, second, bos }, signal),
  pattern: (question: Question, head: string, signal?: AbortSignal) =>
    call<Pattern>("/api/pattern", { ...question, head }, signal),
  cluster: (signal?: AbortSignal) => call<Cluster>("/api/cluster", undefined, signal),
  atlas: (signal?: AbortSignal) => call<AtlasStatus>("/api/atlas", undefined, signal),
  component: (id: string, among: Chosen, signal?: AbortSignal) =>
    call<Component>(componentPath(id, "", among), undefined, signal),
  card: (id: string, among: Chosen, signal?: AbortSignal) =>
    call<Card>(componentPath(id, "/card", among), undefined, signal),
  weights: (id: string, among: Chosen, signal?: AbortSignal) =>
    call<Weights>(componentPath(id, "/weights", among), undefined, signal),
  cofiring: (id: string, among: Chosen, signal?: AbortSignal) =>
    call<CoFirings>(componentPath(id, "/cofiring", among), undefined, signal),
  pairs: (
    id: string,
    { kind, rank, band }: Pick<Example, "kind" | "rank" | "band">,
    among: Chosen,
    signal?: AbortSignal,
  ) =>
    call<Pairs>(
      componentPath(id, "/pairs", among, {
        kind,
        rank: String(rank),
        ...(band === null ? {} : { band: String(band) }),
      }),
      undefined,
      signal,
    ),
  onPrompt: (component: string, prompt: string, bos: boolean, among: Chosen, signal?: AbortSignal) =>
    call<OnPrompt>("/api/components/prompt", { component, prompt, bos, autoencoders: among }, signal),
  searchPrompt: (asked: PromptSearch, signal?: AbortSignal) =>
    call<Firings>("/api/search/prompt", asked, signal),
  searchToken: (asked: TokenSearch, signal?: AbortSignal) =>
    call<TokenMatches>("/api/search/token", asked, signal),
  searchPushed: (asked: PushSearch, signal?: AbortSignal) =>
    call<PushMatches>("/api/search/pushed", asked, signal),
  autoencoders: (signal?: AbortSignal) =>
    call<{ rows: Autoencoder[] }>("/api/autoencoders", undefined, signal),
  addAutoencoder: (asked: AddRequest, signal?: AbortSignal) =>
    call<Autoencoder>("/api/autoencoders", asked, signal),
  removeAutoencoder: (name: string) => send("DELETE", autoencoderPath(name)),
  report: (name: string, signal?: AbortSignal) =>
    call<Report>(`${autoencoderPath(name)}/report`, undefined, signal),
  rate: (name: string, index: number, rating: Rating | null) =>
    send("PUT", `${autoencoderPath(name)}/ratings/${index}`, { rating }),
  trainings: (signal?: AbortSignal) => call<Trainings>("/api/trainings", undefined, signal),
  train: (asked: TrainRequest, signal?: AbortSignal) => call<Training>("/api/trainings", asked, signal),
  training: (name: string, signal?: AbortSignal) => call<Training>(trainingPath(name), undefined, signal),
  trainingLog: (name: string, signal?: AbortSignal) =>
    call<{ rows: TrainPoint[] }>(`${trainingPath(name)}/log`, undefined, signal),
  stopTraining: (name: string) => call<Training>(`${trainingPath(name)}/stop`, null),
  resumeTraining: (name: string) => call<Training>(`${trainingPath(name)}/resume`, null),
  removeTraining: (name: string) => send("DELETE", trainingPath(name)),
  llms: (signal?: AbortSignal) => call<LLMs>("/api/llms", undefined, signal),
  explanations: (id: string, among: Chosen, signal?: AbortSignal) =>
    call<ComponentExplanations>(componentPath(id, "/explanations", among), undefined, signal),
  bestExplanations: (ids: readonly string[], among: Chosen, signal?: AbortSignal) =>
    call<BestExplanations>("/api/explanations/best", { components: ids, autoencoders: among }, signal),
  removeExplanation: (number: number) => send("DELETE", `/api/explanations/${number}`),
  scoredTexts: (score: number, signal?: AbortSignal) =>
    call<{ rows: ScoredText[] }>(`/api/scores/${score}/strips`, undefined, signal),
  planExplaining: (asked: ExplainRequest, signal?: AbortSignal) =>
    call<ExplainPlan>("/api/explanations/plan", asked, signal),
  planNode: (asked: NodeExplainRequest, signal?: AbortSignal) =>
    call<NodePlan>("/api/explanations/node/plan", asked, signal),
  explainNode: (asked: NodeExplainRequest, signal?: AbortSignal) =>
    call<Explanation>("/api/explanations/node", asked, signal),
  searchWords: (asked: WordsSearch, signal?: AbortSignal) =>
    call<FoundExplanations>(`/api/explanations/search${query(spelled(asked))}`, undefined, signal),
  sources: (signal?: AbortSignal) => call<{ rows: Source[] }>("/api/explanations/sources", undefined, signal),
  overview: (of: Omit<Source, "components">, signal?: AbortSignal) =>
    call<Overview>(`/api/explanations/overview${query(spelled(of))}`, undefined, signal),
};

export function autoencoderPath(name: string): string {
  return `/api/autoencoders/${escaped(name)}`;
}

export function trainingPath(name: string): string {
  return `/api/trainings/${encodeURIComponent(name)}`;
}

/** Of a component among the latents of these autoencoders. */
function componentPath(id: string, what: string, among: Chosen, more: Record<string, string> = {}): string {
  const params = new URLSearchParams(more);
  for (const name of among ?? []) params.append("autoencoders", name);
  return `/api/components/${encodeURIComponent(id)}${what}${query(params)}`;
}

/** The parameters of a GET; what is not given is left out, and a list is one parameter after the other. */
function spelled(values: object): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== null && one !== undefined) params.append(name, String(one));
  return params;
}

/** What the server answers: to a GET, or to a POST of a body; null is an empty one. */
async function call<T>(path: string, body: unknown, signal?: AbortSignal, mark?: string): Promise<T> {
  const { response, text } = await ask(body === undefined ? "GET" : "POST", path, body ?? undefined, signal);
  if (mark && response.ok) performance.mark(mark);
  const value = parse(text);
  if (response.ok && value !== undefined) return value as T;
  throw failure(value, response.status);
}

/** Has the server do what has no answer of interest. */
async function send(method: "PUT" | "DELETE", path: string, body?: unknown): Promise<void> {
  const { response, text } = await ask(method, path, body);
  if (!response.ok) throw failure(parse(text), response.status);
}

async function ask(
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<{ response: Response; text: string }> {
  const sent =
    body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  try {
    const response = await fetch(path, { method, signal, ...sent });
    return { response, text: await response.text() };
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw unreachable();
  }
}

export function unreachable(): Failure {
  return new Failure(
    "unreachable",
    "The Clew server does not answer.",
    "Start it with “clew serve”; this page carries on by itself once it is back.",
  );
}

/** What a JSON text says, or undefined when it is not JSON. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The failure that an error reply of this body and status stands for. */
export function failure(value: unknown, status: number): Failure {
  const error = (value as { error?: { code?: string; message?: string; hint?: string } } | undefined)?.error;
  if (error?.message) return new Failure(error.code ?? "failed", error.message, error.hint ?? "");
  // A proxy in between answers with its own page when the server behind it is gone.
  const gone = status === 502 || status === 504;
  return gone
    ? new Failure("unreachable", "The Clew server does not answer.", "Start it with “clew serve”.")
    : new Failure("failed", `The server answered ${status}.`, "Its log says more.");
}

/** Asking the same again helps only when the question was not what was wrong. */
export function canRetry(error: Error): boolean {
  return !(error instanceof Failure) || ["unreachable", "busy", "internal", "failed"].includes(error.code);
}
