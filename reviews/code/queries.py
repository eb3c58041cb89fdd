"""What to look for in a syntax tree: tree-sitter queries, one text for each language.

Captures: `@def.KIND` a definition with its `@name`, and `@scope` where that stands beside it (a method's receiver in
Go, `Shop::` in C++). `@container` holds definitions and is none itself (an `impl` in Rust). `@call`, `@use` a use of
`@name` on `@receiver`; `@import` of `@name` from `@module`. A capture that begins with `_` is for a predicate alone.
Source: node types of the grammars that are pinned in requirements/, and their tags.scm.
"""

_PYTHON = """
(class_definition name: (identifier) @name) @def.class
(function_definition name: (identifier) @name) @def.function
(module (expression_statement (assignment left: (identifier) @name) @def.constant))
(call function: (identifier) @name) @call
(call function: (attribute object: (_) @receiver attribute: (identifier) @name)) @call
(decorator (identifier) @name) @use
(decorator (attribute object: (_) @receiver attribute: (identifier) @name)) @use
(class_definition superclasses: (argument_list (identifier) @name @use))
(class_definition superclasses: (argument_list (attribute object: (_) @receiver attribute: (identifier) @name) @use))
(import_from_statement module_name: (_) @module name: (dotted_name) @name) @import
(import_from_statement module_name: (_) @module name: (aliased_import name: (dotted_name) @name)) @import
(import_statement name: (dotted_name) @name) @import
(import_statement name: (aliased_import name: (dotted_name) @name)) @import
"""

_ECMASCRIPT = """
(function_declaration name: (identifier) @name) @def.function
(generator_function_declaration name: (identifier) @name) @def.function
(method_definition name: (_) @name) @def.method
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)]) @def.function
(assignment_expression left: (member_expression property: (property_identifier) @name)
  right: [(arrow_function) (function_expression)]) @def.function
(pair key: (property_identifier) @name value: [(arrow_function) (function_expression)]) @def.function
(call_expression function: (identifier) @name) @call
(call_expression function: (member_expression object: (_) @receiver property: (property_identifier) @name)) @call
(new_expression constructor: (identifier) @name) @call
(new_expression constructor: (member_expression object: (_) @receiver property: (property_identifier) @name)) @call
(import_statement (import_clause (named_imports (import_specifier name: (identifier) @name)))
  source: (_) @module) @import
(import_statement (import_clause (identifier) @name) source: (_) @module) @import
(import_statement (import_clause (namespace_import (identifier) @name)) source: (_) @module) @import
(export_statement (export_clause (export_specifier name: (identifier) @name)) source: (_) @module) @import
((variable_declarator name: (object_pattern (shorthand_property_identifier_pattern) @name)
  value: (call_expression function: (identifier) @_require arguments: (arguments (string) @module))) @import
  (#eq? @_require "require"))
"""

_JSX = """
(jsx_opening_element name: (identifier) @name) @use
(jsx_self_closing_element name: (identifier) @name) @use
"""

_JAVASCRIPT = """
(class_declaration name: (identifier) @name) @def.class
(class_heritage (identifier) @name) @use
"""

_TYPESCRIPT = """
(class_declaration name: (type_identifier) @name) @def.class
(abstract_class_declaration name: (type_identifier) @name) @def.class
(interface_declaration name: (type_identifier) @name) @def.interface
(type_alias_declaration name: (type_identifier) @name) @def.type
(enum_declaration name: (identifier) @name) @def.type
(function_signature name: (identifier) @name) @def.function
(method_signature name: (property_identifier) @name) @def.method
(abstract_method_signature name: (property_identifier) @name) @def.method
(internal_module name: (identifier) @name) @container
(extends_clause value: (identifier) @name) @use
(implements_clause (type_identifier) @name) @use
"""

_GO = """
(function_declaration name: (identifier) @name) @def.function
(method_declaration receiver: (parameter_list) @scope name: (field_identifier) @name) @def.method
(type_spec name: (type_identifier) @name) @def.type
(source_file (const_declaration (const_spec name: (identifier) @name) @def.constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @def.constant))
(call_expression function: (identifier) @name) @call
(call_expression function: (selector_expression operand: (_) @receiver field: (field_identifier) @name)) @call
(composite_literal type: (type_identifier) @name) @use
(composite_literal type: (qualified_type package: (_) @receiver name: (type_identifier) @name)) @use
(import_spec path: (_) @name) @import
"""

_JAVA = """
(class_declaration name: (identifier) @name) @def.class
(interface_declaration name: (identifier) @name) @def.interface
(enum_declaration name: (identifier) @name) @def.type
(record_declaration name: (identifier) @name) @def.class
(annotation_type_declaration name: (identifier) @name) @def.interface
(method_declaration name: (identifier) @name) @def.method
(constructor_declaration name: (identifier) @name) @def.method
(method_invocation !object name: (identifier) @name) @call
(method_invocation object: (_) @receiver name: (identifier) @name) @call
(object_creation_expression type: (type_identifier) @name) @call
(superclass (type_identifier) @name) @use
(type_list (type_identifier) @name) @use
(import_declaration (scoped_identifier scope: (_) @module name: (identifier) @name)) @import
"""

_RUST = """
(struct_item name: (type_identifier) @name) @def.class
(enum_item name: (type_identifier) @name) @def.type
(union_item name: (type_identifier) @name) @def.type
(type_item name: (type_identifier) @name) @def.type
(trait_item name: (type_identifier) @name) @def.interface
(mod_item name: (identifier) @name body: (_)) @container
(impl_item type: (type_identifier) @name) @container
(impl_item type: (generic_type type: (type_identifier) @name)) @container
(macro_definition name: (identifier) @name) @def.macro
(function_item name: (identifier) @name) @def.function
(function_signature_item name: (identifier) @name) @def.function
(const_item name: (identifier) @name) @def.constant
(static_item name: (identifier) @name) @def.constant
(call_expression function: (identifier) @name) @call
(call_expression function: (field_expression value: (_) @receiver field: (field_identifier) @name)) @call
(call_expression function: (scoped_identifier path: (_) @receiver name: (identifier) @name)) @call
(macro_invocation macro: (identifier) @name) @call
(struct_expression name: (type_identifier) @name) @use
(impl_item trait: (type_identifier) @name) @use
(use_declaration argument: (scoped_identifier path: (_) @module name: (identifier) @name)) @import
(scoped_use_list path: (_) @module list: (use_list (identifier) @name)) @import
"""

_RUBY = """
(class name: (constant) @name) @def.class
(class name: (scope_resolution scope: (_) @scope name: (constant) @name)) @def.class
(module name: (constant) @name) @def.module
(module name: (scope_resolution scope: (_) @scope name: (constant) @name)) @def.module
(method name: (_) @name) @def.method
(singleton_method name: (_) @name) @def.method
(call !receiver method: (identifier) @name) @call
(call receiver: (_) @receiver method: (identifier) @name) @call
(superclass (constant) @name) @use
"""

# A function's name may stand below the asterisks of what it returns.
_C_FUNCTIONS = """
(function_definition declarator: (function_declarator declarator: (identifier) @name)) @def.function
(function_definition declarator: (pointer_declarator declarator:
  (function_declarator declarator: (identifier) @name))) @def.function
(function_definition declarator: (pointer_declarator declarator: (pointer_declarator declarator:
  (function_declarator declarator: (identifier) @name)))) @def.function
(declaration declarator: (function_declarator declarator: (identifier) @name)) @def.prototype
(declaration declarator: (pointer_declarator declarator:
  (function_declarator declarator: (identifier) @name))) @def.prototype
(struct_specifier name: (type_identifier) @name body: (_)) @def.class
(union_specifier name: (type_identifier) @name body: (_)) @def.type
(enum_specifier name: (type_identifier) @name body: (_)) @def.type
(type_definition declarator: (type_identifier) @name) @def.type
(preproc_function_def name: (identifier) @name) @def.macro
(call_expression function: (identifier) @name) @call
(call_expression function: (field_expression argument: (_) @receiver field: (field_identifier) @name)) @call
(preproc_include path: (_) @name) @import
"""

_CPP = """
(class_specifier name: (type_identifier) @name body: (_)) @def.class
(namespace_definition name: (namespace_identifier) @name) @container
(function_definition declarator: (function_declarator declarator: (field_identifier) @name)) @def.method
(function_definition declarator: (pointer_declarator declarator:
  (function_declarator declarator: (field_identifier) @name))) @def.method
(function_definition declarator: (reference_declarator
  (function_declarator declarator: [(identifier) (field_identifier)] @name))) @def.function
(function_definition declarator: (function_declarator declarator:
  (qualified_identifier scope: (_) @scope name: [(identifier) (qualified_identifier)] @name))) @def.method
(function_definition declarator: (pointer_declarator declarator: (function_declarator declarator:
  (qualified_identifier scope: (_) @scope name: [(identifier) (qualified_identifier)] @name)))) @def.method
(function_definition declarator: (reference_declarator (function_declarator declarator:
  (qualified_identifier scope: (_) @scope name: [(identifier) (qualified_identifier)] @name)))) @def.method
(field_declaration declarator: (function_declarator declarator: (field_identifier) @name)) @def.prototype
(call_expression function: (qualified_identifier scope: (_) @receiver
  name: [(identifier) (qualified_identifier)] @name)) @call
(call_expression function: (template_function name: (identifier) @name)) @call
(new_expression type: (type_identifier) @name) @call
(base_class_clause (type_identifier) @name) @use
"""

_BASH = """
(function_definition name: (word) @name) @def.function
(command name: (command_name (word) @name)) @call
((command name: (command_name (word) @_source) . argument: (_) @name) @import (#any-of? @_source "source" "."))
"""

QUERIES = {
    "python": _PYTHON,
    "javascript": _ECMASCRIPT + _JSX + _JAVASCRIPT,
    "typescript": _ECMASCRIPT + _TYPESCRIPT,
    "tsx": _ECMASCRIPT + _JSX + _TYPESCRIPT,
    "go": _GO,
    "java": _JAVA,
    "rust": _RUST,
    "ruby": _RUBY,
    "c": _C_FUNCTIONS,
    "cpp": _C_FUNCTIONS + _CPP,
    "bash": _BASH,
}

#: Commands that are on every machine: as calls they say nothing about a repository.
_SHELL = """
echo printf cd test [ [[ exit return set unset export local readonly declare eval exec shift trap wait true false read
cat cp mv rm mkdir rmdir touch ls ln chmod chown grep egrep sed awk tr cut sort uniq head tail wc find xargs tee date
sleep kill ps which command type basename dirname pwd source . curl wget tar git docker make python python3 pip npm
sudo env id uname diff seq expr getopts let mktemp install apt-get
"""
SHELL_COMMANDS = frozenset(_SHELL.split())
