import { useQueryClient } from "@tanstack/react-query";
import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { ATLAS } from "../../api/atlas";
import { stream } from "../../api/events";
import type { CollectProgress } from "../../api/types";
import type { Chosen } from "../../url/params";

interface Collection {
  running: boolean;
  progress: CollectProgress | null;
  error: Error | null;
  /** `replace` throws away what other settings left; `among` are the autoencoders whose latents are collected too. */
  begin: (tokens: number, replace: boolean, among: Chosen) => void;
  cancel: () => void;
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
  const [running, setRunning] = useState(false);
  const [progress, setProgress] = useState<CollectProgress | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const connection = useRef<AbortController>(undefined);
  useEffect(() => () => connection.current?.abort(), []);

  const begin = useCallback(
    (tokens: number, replace: boolean, among: Chosen) => {
      connection.current?.abort();
      const own = new AbortController();
      connection.current = own;
      setRunning(true);
      setProgress(null);
      setError(null);
      stream(
        "/api/collect",
        { tokens, seed: 0, replace, autoencoders: among === null ? null : [...among] },
        (event) => {
          if (event.name === "progress") setProgress(event.data);
        },
        own.signal,
      )
        .then(
          // Everything on the page may have another answer now.
          () => client.invalidateQueries({ queryKey: [ATLAS] }),
          (reason: Error) => {
            if (!own.signal.aborted) setError(reason);
          },
        )
        .finally(() => {
          if (connection.current === own) setRunning(false);
        });
    },
    [client],
  );
  const cancel = useCallback(() => connection.current?.abort(), []);
  const value = useMemo(
    () => ({ running, progress, error, begin, cancel }),
    [running, progress, error, begin, cancel],
  );
  return <Context value={value}>{children}</Context>;
}
