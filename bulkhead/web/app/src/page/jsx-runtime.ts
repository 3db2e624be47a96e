import type * as Own from "react/jsx-runtime";

export const { Fragment, jsx, jsxs } = (globalThis as unknown as { ReactJSXRuntime: typeof Own }).ReactJSXRuntime;
