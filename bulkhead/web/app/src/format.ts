const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export const time = (at: string): string => TIME.format(new Date(at));
export const clock = (at: string): string => CLOCK.format(new Date(at));

/** A value of a release's evidence, on one line. */
export function short(value: unknown): string {
  if (typeof value === "number") {
    return String(Number(value.toPrecision(4)));
  }
  if (value !== null && typeof value === "object") {
    return Object.entries(value)
      .map(([name, inner]) => (Array.isArray(value) ? short(inner) : `${name} ${short(inner)}`))
      .join(", ");
  }

  return String(value);
}

export const version = (release: { model_name: string; model_version: string | null }): string =>
  release.model_version === null ? release.model_name : `${release.model_name} version ${release.model_version}`;
