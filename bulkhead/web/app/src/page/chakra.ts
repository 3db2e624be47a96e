import type * as Own from "@chakra-ui/react";

export const {
  Alert,
  Badge,
  Box,
  Button,
  Checkbox,
  Code,
  DataList,
  Dialog,
  Field,
  Flex,
  Heading,
  HStack,
  Input,
  Link,
  Portal,
  Spinner,
  Stack,
  Table,
  Text,
  Textarea,
} = (globalThis as unknown as { ChakraUI: typeof Own }).ChakraUI;
