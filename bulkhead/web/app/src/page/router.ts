import type * as Own from "react-router-dom";

export const { Link, useSearchParams } = (globalThis as unknown as { ReactRouterDOM: typeof Own }).ReactRouterDOM;
