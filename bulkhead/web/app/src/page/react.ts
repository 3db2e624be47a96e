// Airflow's page has React, Chakra UI and the router already: the bundle takes them from there, and brings none.
import type * as Own from "react";

const React = (globalThis as unknown as { React: typeof Own }).React;

export default React;
export const { Fragment, useEffect, useRef, useState } = React;
