import type * as Own from "@chakra-ui/react";

export const { Alert, Badge, Box, Code, DataList, Flex, Heading, HStack, Input, Link, Spinner, Stack, Table, Text } = (
  globalThis as unknown as { ChakraUI: typeof Own }
).ChakraUI;
