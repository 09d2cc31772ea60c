import { oneOf, query, whole } from "./params";

export const SHOWN = ["all", "unrated", "readable", "unclear", "dead"] as const;
export type Shown = (typeof SHOWN)[number];

/** Everything a report shows, as the address bar spells it; the autoencoder itself is in the path. */
export interface ReportView {
  /** Which of the sampled latents are listed. */
  shown: Shown;
  /** The latent that is being looked at. */
  latent: number | null;
}

/** The view a query string spells. What it cannot mean is ignored. */
export function readReportView(search: string): ReportView {
  const params = new URLSearchParams(search);
  return { shown: oneOf(SHOWN, params.get("show")) ?? "all", latent: whole(params.get("latent")) };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeReportView({ shown, latent }: ReportView): string {
  const params = new URLSearchParams();
  if (shown !== "all") params.set("show", shown);
  if (latent !== null) params.set("latent", String(latent));
  return query(params);
}
