import { createContext, useContext } from "react";
import type { Asked } from "../url/route";

/** The prompt of the page that is open: links to components carry it along. */
export const AskedContext = createContext<Asked | null>(null);

export function useAsked(): Asked | null {
  return useContext(AskedContext);
}

/** Where the debugger is with the prompt of the page that is open. */
export const DebuggerContext = createContext("/");

export function useDebugger(): string {
  return useContext(DebuggerContext);
}
