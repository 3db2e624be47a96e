import { ChakraProvider, defaultSystem } from "@chakra-ui/react";
import { createRoot } from "react-dom/client";

import { ControlRoom } from "../pages";

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark", dark.matches);

follow();
dark.addEventListener("change", follow);

const root = document.querySelector("main");

if (root !== null) {
  createRoot(root).render(
    <ChakraProvider value={defaultSystem}>
      <ControlRoom />
    </ChakraProvider>,
  );
}
