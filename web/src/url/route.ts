import { type Chosen, query, readChosen, writeChosen } from "./params";

/** Which page an address opens. */
export type Route =
  | { page: "debugger" }
  | { page: "component"; id: string }
  | { page: "search" }
  | { page: "explanations" }
  | { page: "autoencoders" }
  | { page: "autoencoder"; name: string }
  | { page: "train" }
  | { page: "training"; name: string }
  | { page: "cluster" };

/** The pages that are about autoencoders. */
export const OF_AUTOENCODERS: readonly Route["page"][] = ["autoencoders", "autoencoder", "train", "training"];
/** The pages that are about no prompt. */
export const WITHOUT_PROMPT: readonly Route["page"][] = [...OF_AUTOENCODERS, "explanations", "cluster"];

/** The page of a path. The debugger answers for every path that no other page has. */
export function readRoute(path: string): Route {
  const component = /^\/c\/([^/]*)\/?$/.exec(path)?.[1];
  if (component !== undefined) return { page: "component", id: unescaped(component) };
  if (/^\/search\/?$/.test(path)) return { page: "search" };
  if (/^\/explanations\/?$/.test(path)) return { page: "explanations" };
  if (/^\/cluster\/?$/.test(path)) return { page: "cluster" };
  const training = /^\/saes\/trainings\/([^/]+)\/?$/.exec(path)?.[1];
  if (training !== undefined) return { page: "training", name: unescaped(training) };
  if (/^\/saes\/train\/?$/.test(path)) return { page: "train" };
  // Trainings are listed beside what came of them.
  if (/^\/saes(\/trainings)?\/?$/.test(path)) return { page: "autoencoders" };
  const autoencoder = /^\/saes\/([^/]+(?:\/[^/]+)*)\/?$/.exec(path)?.[1];
  if (autoencoder !== undefined) return { page: "autoencoder", name: unescaped(autoencoder) };
  return { page: "debugger" };
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A prompt that goes along from page to page, with the autoencoders that take it apart. */
export interface Asked {
  prompt: string;
  bos: boolean;
  autoencoders: Chosen;
}

/** The same prompt, taken apart by these autoencoders. */
export function askedWith(asked: Asked | null, autoencoders: Chosen): Asked {
  return { prompt: asked?.prompt ?? "", bos: asked?.bos ?? false, autoencoders };
}

/** The prompt in an address, which every page spells alike; else the one that all pages open with, once it is known. */
export function readAsked(search: string, example: string | null): Asked | null {
  const params = new URLSearchParams(search);
  const prompt = params.get("p") ?? example;
  if (prompt === null) return null;
  return { prompt, bos: params.get("bos") === "1", autoencoders: readChosen(params) };
}

/** The address of a component's page, with the prompt it is read on. */
export function componentAddress(id: string, asked: Asked | null): string {
  return `/c/${id}${spelled(asked)}`;
}

/** The address of the debugger with a prompt. */
export function debuggerAddress(asked: Asked | null): string {
  return `/${spelled(asked)}`;
}

/** The address of the search, with a prompt to search by. */
export function searchAddress(asked: Asked | null): string {
  return `/search${spelled(asked)}`;
}

export const AUTOENCODERS = "/saes";
export const EXPLANATIONS = "/explanations";
export const CLUSTER = "/cluster";
export const TRAIN = "/saes/train";

/** The address of what an autoencoder is worth; one of a training is named TRAINING/NAME. */
export function autoencoderAddress(name: string): string {
  return `${AUTOENCODERS}/${escaped(name)}`;
}

/** The address of a training, as it runs and after. */
export function trainingAddress(name: string): string {
  return `${AUTOENCODERS}/trainings/${encodeURIComponent(name)}`;
}

/** A name as part of a path; what it has of slashes stays. */
export function escaped(name: string): string {
  return name.split("/").map(encodeURIComponent).join("/");
}

function spelled(asked: Asked | null): string {
  if (asked === null) return "";
  const params = new URLSearchParams();
  if (asked.prompt !== "") params.set("p", asked.prompt);
  if (asked.prompt !== "" && asked.bos) params.set("bos", "1");
  writeChosen(params, asked.autoencoders);
  return query(params);
}
