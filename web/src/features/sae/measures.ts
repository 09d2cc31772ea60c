import type { Report } from "../../api/types";
import { amount, count, percent } from "../../format/number";

/** One measure of a report: what it says, and how far to trust it. */
export interface Measure {
  name: string;
  value: string;
  means: string;
  trust: string;
}

/** The measures of a report, those of what is lost first, then those of how it is sparse. docs/judging.md defines each. */
export function measuresOf(report: Report): Measure[] {
  const { autoencoder, dead, dense } = report;
  const share = (n: number) => `${count(n)} (${percent(n / Math.max(1, autoencoder.latents))})`;
  return [
    {
      name: "FVU",
      value: amount(report.fvu),
      means: "Share of the variance that is not reconstructed: 0 perfect, 1 no better than the mean.",
      trust: "Firm. Compare only at the same site, and at the same L0.",
    },
    {
      name: "CE recovered",
      value: report.ce_recovered === null ? "–" : percent(report.ce_recovered),
      means:
        "How much of the loss that the model has without the site the reconstruction spares it: 100% all.",
      trust:
        report.ce_recovered === null
          ? "Not to be told here: setting the site to zero does the model no harm."
          : "Flatters: most of it is easy. Look at the losses themselves, and at KL.",
    },
    {
      name: "KL",
      value: `${amount(report.kl)} nats`,
      means: "How far next-token predictions move when the model runs on the reconstruction; 0 not at all.",
      trust: "Firm, and harder to please than CE recovered.",
    },
    {
      name: "L0",
      value: amount(report.l0),
      means: "Latents that fire on a token, on average.",
      trust: "Firm. Fewer are easier to read and reconstruct less: no measure above means much without it.",
    },
    {
      name: "cosine",
      value: amount(report.cosine),
      means: "Of a value with its reconstruction, on average: 1 the same direction.",
      trust: "Counts every token alike, where FVU counts large ones more.",
    },
    {
      name: "shrinkage",
      value: amount(report.shrinkage),
      means: "Size of reconstructions: 1 right, below 1 too small (Rajamanoharan et al. 2024).",
      trust: "Firm. An L1 penalty shrinks; top-k does not.",
    },
    {
      name: "mean squared error",
      value: amount(report.mse),
      means: "Per token, in the site’s own units.",
      trust: "Means something only beside the site’s variance: that is FVU.",
    },
    {
      name: "dead latents",
      value: share(dead),
      means: `Fired on none of the ${count(report.tokens)} tokens read.`,
      trust: "An upper bound: a rare feature may not have come up in so little text.",
    },
    {
      name: "dense latents",
      value: share(dense),
      means: "Fire on more than one token in ten.",
      trust: "Firm. A few are common; they are seldom readable.",
    },
    {
      name: "decoder cosine",
      value: amount(report.decoder_cosine_mean),
      means: "Of a latent’s direction with the nearest other one, on average: high where features are split.",
      trust: "Grows with the number of latents; compare equal sizes.",
    },
    {
      name: "description length",
      value: `${amount(report.description_length)} bits`,
      means: "To say of a token which latents fire and how strongly, by their frequencies.",
      trust: "Compares autoencoders of equal FVU. It is no measure by itself.",
    },
  ];
}
