import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useMemo } from "react";
import { ATLAS } from "../../api/atlas";
import { stream } from "../../api/events";
import type { CollectProgress } from "../../api/types";
import { type LongWork, useLongWork } from "../../components/useLongWork";
import type { Chosen } from "../../url/params";

interface Collection extends Omit<LongWork<CollectProgress>, "begin"> {
  /** `replace` throws away what other settings left; `among` are the autoencoders whose latents are collected too. */
  begin: (tokens: number, replace: boolean, among: Chosen) => void;
}

const Context = createContext<Collection | null>(null);

/** The collection that this page began, wherever in the page one is. */
export function useCollecting(): Collection {
  const collection = useContext(Context);
  if (!collection) throw new Error("There is no <Collecting> around this.");
  return collection;
}

/** Keeps a collection going while pages change: the server stops one whose connection closes. */
export function Collecting({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const { running, progress, notes, error, begin: start, cancel } = useLongWork<CollectProgress>();
  const begin = useCallback(
    (tokens: number, replace: boolean, among: Chosen) =>
      start(async (tell, signal) => {
        await stream(
          "/api/collect",
          { tokens, seed: 0, replace, autoencoders: among === null ? null : [...among] },
          (event) => {
            if (event.name === "progress") tell(event.data);
          },
          signal,
        );
        // Everything on the page may have another answer now.
        await client.invalidateQueries({ queryKey: [ATLAS] });
      }),
    [client, start],
  );
  const value = useMemo(
    () => ({ running, progress, notes, error, begin, cancel }),
    [running, progress, notes, error, begin, cancel],
  );
  return <Context value={value}>{children}</Context>;
}
