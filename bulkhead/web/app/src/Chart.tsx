import { Box, HStack, Text } from "@chakra-ui/react";
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import style from "uplot/dist/uPlot.min.css";

import { clock } from "./format";

/** One line of a chart. `values` belong to the chart's `at`; a gap is null. */
export interface Line {
  name: string;
  colour: string;
  values: (number | null)[];
}

/** When something was decided. */
export interface Mark {
  at: number;
  words: string;
}

interface ChartProps {
  name: string;
  unit: string;
  /** Seconds since 1970 of every point. */
  at: number[];
  /** Of all charts that stand below each other, in the same seconds. */
  from: number;
  to: number;
  lines: Line[];
  marks: Mark[];
  /** Whether a value counts until the next one. */
  stepped?: boolean;
  /** Where something happens, as a line across. */
  limit?: number;
  /** The least that the scale shows. */
  top?: number;
  /** Whether the time stands below: at the last of those that stand below each other. */
  timed?: boolean;
}

const HEIGHT = 80;
const TIME_HEIGHT = 26;
const SYNC = uPlot.sync("bulkhead");

/** A chart over time. What it shows is said by its label too; the numbers themselves are in a table beside it. */
export function Chart(props: ChartProps) {
  const { at, lines, name, unit } = props;
  const place = useRef<HTMLDivElement>(null);
  const swatches = useRef<(HTMLDivElement | null)[]>([]);
  const plot = useRef<uPlot>(null);
  const theme = useTheme();
  const shape = JSON.stringify([lines.map((line) => line.name), props.from, props.to, props.marks, theme]);

  useEffect(() => {
    const element = place.current;

    if (element === null) {
      return;
    }
    const colours = swatches.current.slice(0, lines.length).map((swatch) => colourOf(swatch, "backgroundColor"));

    plot.current = new uPlot(options(props, element, colours), [at, ...lines.map((line) => line.values)], element);
    const sized = new ResizeObserver(() => plot.current?.setSize({ height: height(props), width: element.clientWidth }));

    sized.observe(element);

    return () => {
      sized.disconnect();
      plot.current?.destroy();
    };
  }, [shape]);

  useEffect(() => plot.current?.setData([at, ...lines.map((line) => line.values)], false), [at, lines]);

  return (
    <Box>
      <HStack gap={4} wrap="wrap">
        <Text fontSize="sm" fontWeight="semibold">{`${name}, ${unit}`}</Text>
        {lines.map((line, index) => (
          <HStack gap={1} key={line.name}>
            <Box
              aria-hidden
              bg={line.colour}
              borderRadius="xs"
              h={2}
              ref={(swatch: HTMLDivElement | null) => {
                swatches.current[index] = swatch;
              }}
              w={3}
            />
            <Text fontSize="sm">{`${line.name} ${last(line.values)}`}</Text>
          </HStack>
        ))}
      </HStack>
      <Box
        aria-label={`${name}: ${lines.map((line) => `${line.name} ${last(line.values)} ${unit}`).join(", ")}`}
        color="fg.muted"
        h={`${height(props)}px`}
        overflow="hidden"
        ref={place}
        role="img"
      />
    </Box>
  );
}

function options(props: ChartProps, element: HTMLElement, colours: string[]): uPlot.Options {
  const text = colourOf(element, "color");
  const axis = { font: "11px sans-serif", grid: { stroke: `color-mix(in srgb, ${text} 20%, transparent)` }, stroke: text };
  const paths = props.stepped === true ? { paths: uPlot.paths.stepped?.({ align: 1 }) } : {};

  return {
    axes: [
      { ...axis, size: props.timed === true ? TIME_HEIGHT : 0, space: 90, values: (_, at) => at.map(moment) },
      { ...axis, size: 48, space: 24 },
    ],
    cursor: { sync: { key: SYNC.key } },
    height: height(props),
    hooks: { draw: [(drawn) => decorate(drawn, props, text)] },
    legend: { show: false },
    padding: [6, 12, 6, 0],
    scales: {
      x: { range: [props.from, props.to], time: true },
      y: { range: (_, __, highest) => [0, Math.max(props.top ?? 0, (highest ?? 0) * 1.05) || 1] },
    },
    series: [
      {},
      ...props.lines.map((line, index) => ({
        label: line.name,
        points: { show: props.at.length < 3 },
        spanGaps: true,
        stroke: colours[index],
        width: 2,
        ...paths,
      })),
    ],
    width: element.clientWidth,
  };
}

/** The moments of decision, and the limit. */
function decorate(plot: uPlot, { limit, marks }: ChartProps, colour: string) {
  const { ctx } = plot;
  const { height, left, top, width } = plot.bbox;

  ctx.save();
  ctx.strokeStyle = colour;
  ctx.setLineDash([4, 4]);
  for (const { at } of marks) {
    const x = plot.valToPos(at, "x", true);

    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  if (limit !== undefined) {
    const y = plot.valToPos(limit, "y", true);

    ctx.setLineDash([]);
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + width, y);
    ctx.stroke();
  }
  ctx.restore();
}

const height = ({ timed }: ChartProps): number => HEIGHT + (timed === true ? TIME_HEIGHT : 0);

const moment = (at: number): string => clock(new Date(at * 1000).toISOString());

const colourOf = (element: HTMLElement | null, property: "backgroundColor" | "color"): string =>
  element === null ? "gray" : getComputedStyle(element)[property];

const last = (values: (number | null)[]): string => {
  const value = values.findLast((known) => known !== null);

  return value === undefined || value === null ? "–" : String(Number(value.toPrecision(3)));
};

/** Another value whenever the page goes from light to dark or back: a canvas does not follow by itself. */
function useTheme(): number {
  const [theme, setTheme] = useState(0);

  useEffect(() => {
    const changed = new MutationObserver(() => setTheme((before) => before + 1));

    changed.observe(document.documentElement, { attributeFilter: ["class", "data-theme", "style"] });

    return () => changed.disconnect();
  }, []);

  return theme;
}

const sheet = document.createElement("style");

sheet.textContent = style;
document.head.append(sheet);
